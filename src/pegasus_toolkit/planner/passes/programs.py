"""Which program serves a transformation at a site, and which files have to be staged for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from zlib import crc32

from pegasus_toolkit.planner.catalogs import (
    LOCAL,
    Catalogs,
    Pfn,
    Profiles,
    Site,
    Transformation,
    TransformationSite,
)
from pegasus_toolkit.planner.passes.plan import ExternalFile
from pegasus_toolkit.schemes import SCHEMES

SETUP = "pegasus_lite_env_source"
KINDS: Mapping[str, Callable[[TransformationSite], bool]] = {
    "Installed": lambda one: not one.stageable,
    "Staged": lambda one: one.stageable,
    "Submit": lambda one: one.stageable and one.name == LOCAL,
}
"""``pegasus.selector.transformation``: which entries of the catalog it takes."""


class Programs:
    """Answers from the transformation catalog, as far as it is of a kind (of ``KINDS``; "": of any)."""

    def __init__(self, catalogs: Catalogs, kind: str = "", makes_sif: bool = False) -> None:
        """``makes_sif``: where images are staged in, Singularity is there to make SIF files of Docker's."""
        self._catalogs = catalogs
        self._makes_sif = makes_sif
        self._kind = KINDS.get(kind)

    def eligible(self, program: Transformation, sites: Iterable[str]) -> dict[str, TransformationSite]:
        """For each site that can run it, the entry to use: installed there, else one that can be staged."""
        found = {}
        for name in sites:
            site = self._catalogs.sites[name]
            entry = self._entry(program, site)
            if entry is not None and self._required(program, site):
                found[name] = entry
        return found

    def _entry(self, program: Transformation, site: Site) -> TransformationSite | None:
        """What is there already, else what can be brought: itself, or the container that it is in."""
        taken = [one for one in program.sites if self._kind is None or self._kind(one)]
        there = [one for one in taken if one.name == site.name]
        brought = [one for one in taken if one.stageable or one.container]
        for one in (*there, *brought):
            if one.name == site.name or _same(one, site):
                return one
        return None

    def _required(self, program: Transformation, site: Site) -> bool:
        others = (self._catalogs.transformations.get(key) for key in program.requires)
        return all(other is not None and self._entry(other, site) is not None for other in others)

    def staged(self, key: str, entry: TransformationSite) -> tuple[ExternalFile, ...]:
        """The program (first, where it is staged), those that it requires, and the image: files to bring."""
        program = self._catalogs.transformations.get(key)
        files = [_raw(program, entry)] if program and entry.stageable else []
        for other_key in program.requires if program else ():
            other = self._catalogs.transformations[other_key]
            files += [_raw(other, one) for one in other.sites if one.stageable][:1]
        container = self._catalogs.containers.get(entry.container)
        lfn = self.image(entry)
        if container is not None and lfn:
            pfn = Pfn(container.image_site or "local", container.image)
            files.append(
                ExternalFile(lfn=lfn, pfns=(pfn,), checksum=container.checksum, bypass=container.bypass)
            )
        return tuple(files)

    def setup(self, profiles: Profiles) -> ExternalFile | None:
        """The script of the submit host that is read before programs start, where a profile names one."""
        path = profiles.get("pegasus", {}).get(SETUP, "")
        if not path:
            return None
        url = path if "://" in path else f"file://{path}"
        # One name for each path: several sites may have scripts of one name.
        return ExternalFile(lfn=f"{SETUP}_{crc32(url.encode()):08x}.sh", pfns=(Pfn(LOCAL, url),))

    def image(self, entry: TransformationSite) -> str:
        """The LFN of the container's image; "" where the container's own program is to pull it there."""
        container = self._catalogs.containers.get(entry.container)
        if container is None or container.image.startswith("shifter://"):
            return ""
        if not from_registry(container.image):
            base = container.image.partition("?")[0].rpartition("/")[2]
            suffix = base[base.index(".") :] if "." in base else ""
            return f"{container.name}{suffix}"
        if container.bypass or container.type == "shifter":
            return ""
        archive = container.type == "docker" or (
            container.image.startswith("docker:") and not self._makes_sif
        )
        return f"{container.name}{'.tar' if archive else '.sif'}"


def from_registry(url: str) -> bool:
    """Whether it names an image in a registry, and no file."""
    scheme = SCHEMES.get(url.partition("://")[0].lower())
    return scheme is not None and bool(scheme.registry)


def _same(entry: TransformationSite, site: Site) -> bool:
    """Whether what was made for the entry's machine runs at the site, as far as both are told."""
    arch = {entry.arch, site.arch} - {""}
    return len(arch) <= 1 and len({entry.os, site.os} - {""}) <= 1


def _raw(program: Transformation, entry: TransformationSite) -> ExternalFile:
    pfn = Pfn(entry.name, entry.pfn)
    return ExternalFile(
        lfn=program.lfn, pfns=(pfn,), checksum=program.checksum, executable=True, bypass=entry.bypass
    )
