"""What the passes hand on: the workflow half way between abstract and executable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import (
    LOCAL,
    Catalogs,
    Checksum,
    Path,
    Pfn,
    Profiles,
    Site,
    TransformationSite,
)
from pegasus_toolkit.planner.model import Configuration, Job, Node, Problem, Settings, Workflow


class ExternalFile(Struct, frozen=True, kw_only=True):
    """A file that no job makes: a replica, a program or an image. ``pfns``: in the catalog's order."""

    lfn: str
    pfns: tuple[Pfn, ...]
    checksum: Checksum | None = None
    size: int | None = None
    executable: bool = False
    bypass: bool = False


class SiteChoice(Struct, frozen=True, kw_only=True):
    """Where a job runs and with which program; ``staging``: the site its files pass through."""

    site: str
    staging: str
    configuration: Configuration
    program: TransformationSite | None = None
    staged: tuple[str, ...] = ()  # LFNs of programs and images that are inputs, too; the program first
    image: str = ""  # LFN of the container image among them
    setup: str = ""  # LFN of the script among them that sets up the program's environment
    profiles: Profiles = {}


class Plan(Struct, frozen=True, kw_only=True):
    """``jobs``: still to run, parents first; ``parents``: of each, by id, files and explicit ones;
    ``level``: the longest way from a beginning. ``reused``: ids; ``there``: what they would have made.
    ``raw``: by LFN; ``chosen``: by job id. ``nodes`` with ``edges`` (parents by node's name);
    ``node_of``: job id to node's name; ``made``: staging site to its create-dir node.
    ``placed``: which node puts a file, by LFN and staging site; ``digests``: which node makes an LFN, and so
    tells its digest. ``delivered``: where an LFN is staged out to; ``delivering``: by which nodes.
    """

    workflow: Workflow
    catalogs: Catalogs
    settings: Settings
    jobs: tuple[Job, ...] = ()
    parents: Mapping[str, tuple[str, ...]] = {}
    level: Mapping[str, int] = {}
    reused: tuple[str, ...] = ()
    there: Mapping[str, ExternalFile] = {}
    raw: Mapping[str, ExternalFile] = {}
    chosen: Mapping[str, SiteChoice] = {}
    nodes: tuple[Node, ...] = ()
    edges: Mapping[str, tuple[str, ...]] = {}
    node_of: Mapping[str, str] = {}
    made: Mapping[str, str] = {}
    placed: Mapping[tuple[str, str], str] = {}
    digests: Mapping[str, str] = {}
    delivered: Mapping[str, tuple[Pfn, ...]] = {}
    delivering: Mapping[str, tuple[str, ...]] = {}
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def used(self) -> dict[str, Site]:
        """The sites that the run has to do with, as far as that is known by now."""
        settings = self.settings
        names = [LOCAL, *settings.output_sites, *(() if self.chosen else settings.sites)]
        for choice in self.chosen.values():
            names += (choice.site, choice.staging)
        names += (pfn.site for one in self.raw.values() for pfn in one.pfns)
        sites = self.catalogs.sites
        return {name: sites[name] for name in dict.fromkeys(names) if name in sites}

    def property(self, key: str) -> str:
        """A property, "" where it is not set."""
        return self.settings.properties.get(key, "")

    def add(self, nodes: Iterable[Node], edges: Mapping[str, Iterable[str]]) -> Plan:
        """With these nodes, and these parents added to those that are known."""
        merged = dict(self.edges)
        for name, parents in edges.items():
            merged[name] = tuple(dict.fromkeys((*merged.get(name, ()), *parents)))
        added = tuple(nodes)
        for node in added:
            merged.setdefault(node.name, ())
        return replace(self, nodes=(*self.nodes, *added), edges=merged)

    def wrong(self, problems: Iterable[Problem]) -> Plan:
        """With these problems."""
        return replace(self, problems=(*self.problems, *problems))

    def warn(self, warnings: Iterable[str]) -> Plan:
        """With these warnings."""
        return replace(self, warnings=(*self.warnings, *dict.fromkeys(warnings)))

    def at(self, job: Job, *path: str | int) -> tuple[str, Path]:
        """File and path of a job, or of something in it, for a problem."""
        return self.workflow.file, ("jobs", job.at, *path)

    def problem(self, job: Job, message: str, *path: str | int, hint: str = "") -> Problem:
        """Something wrong with a job."""
        file, where = self.at(job, *path)
        return Problem(file, where, message, hint=hint)


def number(profiles: Profiles, key: str) -> int:
    """The whole number of a profile in ``pegasus``; 0 where there is none."""
    value = profiles.get("pegasus", {}).get(key, "")
    return int(value) if value.isdecimal() else 0
