"""What the catalogs say: sites, replicas, programs, containers. Plain, frozen data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

LOCAL = "local"  # the label of the submit host, as everywhere in Pegasus
CONDORPOOL = "condorpool"  # that of the pool that the submit host belongs to

Profiles = Mapping[str, Mapping[str, str]]
"""Namespace (``pegasus``, ``condor``, ``env``, ...) to key to value; all values are text."""

Path = tuple[str | int, ...]
"""The way to a value in a file: ``("jobs", 3, "uses", 0, "lfn")``."""


def words(text: str) -> tuple[str, ...]:
    """A table of names, written as a sentence."""
    return tuple(text.split())


class Checksum(Struct, frozen=True, gc=False):
    """A digest in lower-case hex, and its algorithm: the ``checksum`` of a transfer specification."""

    type: str
    value: str


class FileServer(NamedTuple):
    """A door to a directory. ``operation``: ``all``, ``get`` or ``put``."""

    url: str
    operation: str = "all"


class Directory(NamedTuple):
    """A place for files at a site. ``type``: sharedScratch, localScratch, sharedStorage, localStorage."""

    type: str
    path: str
    servers: tuple[FileServer, ...] = ()

    def url(self, *operations: str) -> str:
        """The first server for any of these operations, those named first preferred; "" for none."""
        for operation in operations:
            for server in self.servers:
                if server.operation == operation:
                    return server.url.rstrip("/") or server.url
        return ""


class Grid(NamedTuple):
    """How jobs get into a site that HTCondor submits to by ``universe = grid``."""

    type: str
    contact: str = ""
    scheduler: str = ""
    jobtype: str = ""


class Batch(NamedTuple):
    """``system``: slurm, pbs, ...; ``host``: where HTCondor logs in to submit there, "" for the submit host.

    Without a host jobs run on the submit host's file system, and no file is carried for them.
    """

    system: str
    host: str = ""

    @property
    def resource(self) -> str:
        """The value of ``grid_resource``."""
        return f"batch {self.system} {self.host}".rstrip()


class Site(Struct, frozen=True, kw_only=True):
    """A site of the catalog; ``arch`` and ``os`` are "" where not told. ``file``: "" for one added by us.

    ``problems``: what is wrong with its places and values, which matters only if the site is used.
    """

    name: str
    at: Path = ()
    file: str = ""
    arch: str = ""
    os: str = ""
    directories: tuple[Directory, ...] = ()
    grids: tuple[Grid, ...] = ()
    profiles: Profiles = {}
    problems: tuple[tuple[Path, str], ...] = ()

    def directory(self, *types: str) -> Directory | None:
        """The first directory of any of these types, those named first preferred."""
        for type in types:
            for directory in self.directories:
                if directory.type == type:
                    return directory
        return None

    @property
    def submit_host(self) -> bool:
        """Whether its file system is that of the submit host, so that ``file:`` URLs serve in both."""
        flag = self.profiles.get("pegasus", {}).get("auxillary.local", "")
        return self.name == LOCAL or flag.lower() == "true"


class Pfn(Struct, frozen=True, gc=False, omit_defaults=True):
    """One place of one file: a URL at a site; the higher ``priority`` is tried first."""

    site: str
    url: str
    priority: int = 0


class Replica(Struct, frozen=True, kw_only=True):
    """What the replica catalog knows of an LFN (``regex``: of all that match it)."""

    lfn: str
    pfns: tuple[Pfn, ...]
    checksum: Checksum | None = None
    size: int | None = None
    regex: bool = False
    metadata: Mapping[str, str] = {}
    file: str = ""
    at: Path = ()

    def joined(self, other: Replica) -> Replica:
        """With the other's places after its own; checksum, size and metadata of the first that has them."""
        return replace(
            self,
            pfns=tuple(dict.fromkeys((*self.pfns, *other.pfns))),
            checksum=self.checksum or other.checksum,
            size=other.size if self.size is None else self.size,
            metadata={**other.metadata, **self.metadata},
        )


class ReplicaCatalog(Struct, frozen=True, kw_only=True):
    """Replicas by LFN; what is not there is looked up in ``patterns``, in order."""

    entries: Mapping[str, Replica] = {}
    patterns: tuple[tuple[re.Pattern[str], Replica], ...] = ()

    def find(self, lfn: str) -> Replica | None:
        """What is known of ``lfn``. In the PFNs of a pattern, ``[0]`` is the LFN, ``[1]`` its first group."""
        found = self.entries.get(lfn)
        if found is not None:
            return found
        for pattern, replica in self.patterns:
            if match := pattern.fullmatch(lfn):
                return _filled(replica, lfn, match)
        return None


def _filled(replica: Replica, lfn: str, match: re.Match[str]) -> Replica:
    groups = {f"[{n}]": text or "" for n, text in enumerate((match[0], *match.groups()))}

    def fill(url: str) -> str:
        return re.sub(r"\[\d+\]", lambda found: groups.get(found[0], found[0]), url)

    pfns = tuple(Pfn(pfn.site, fill(pfn.url), pfn.priority) for pfn in replica.pfns)
    return Replica(lfn=lfn, pfns=pfns, metadata=replica.metadata, file=replica.file, at=replica.at)


class Hook(NamedTuple):
    """A shell command of the user, run on the submit host. ``on``: start, success, error, end or all."""

    on: str
    command: str


class Container(Struct, frozen=True, kw_only=True):
    """A container image. ``type``: docker, singularity, shifter; ``mounts``: ``source:target:options``;
    ``bypass``: it is not staged: jobs fetch a file by themselves, and nodes pull what is in a registry."""

    name: str
    type: str
    image: str
    image_site: str = ""
    bypass: bool = False
    mounts: tuple[str, ...] = ()
    checksum: Checksum | None = None
    profiles: Profiles = {}


class TransformationSite(Struct, frozen=True, kw_only=True):
    """A program at a site: installed there, or ``stageable``, that is, to be copied from there."""

    name: str
    pfn: str
    stageable: bool = False
    bypass: bool = False
    arch: str = ""
    os: str = ""
    container: str = ""
    profiles: Profiles = {}
    metadata: Mapping[str, str] = {}


class Transformation(Struct, frozen=True, kw_only=True):
    """A program. ``key``: ``namespace::name:version``, empty parts left out; ``requires``: keys of others."""

    key: str
    name: str
    sites: tuple[TransformationSite, ...] = ()
    requires: tuple[str, ...] = ()
    checksum: Checksum | None = None
    profiles: Profiles = {}
    metadata: Mapping[str, str] = {}
    hooks: tuple[Hook, ...] = ()
    file: str = ""
    at: Path = ()

    @property
    def lfn(self) -> str:
        """Its file's name where it is staged: ``namespace-name-version`` as upstream writes it."""
        return self.key.replace("::", "-").replace(":", "-").replace("/", "_")


class Catalogs(Struct, frozen=True, kw_only=True):
    """All that is known of sites, replicas and programs.

    ``outputs``: where outputs go; ``None`` if that could not be read.
    """

    sites: Mapping[str, Site]
    replicas: ReplicaCatalog
    transformations: Mapping[str, Transformation]
    containers: Mapping[str, Container]
    outputs: ReplicaCatalog | None = ReplicaCatalog()
