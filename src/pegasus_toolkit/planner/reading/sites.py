"""``sites.yml``: where jobs run and files stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import CONDORPOOL, LOCAL, Directory, FileServer, Grid, Path, Site, words
from pegasus_toolkit.planner.model import Problem
from pegasus_toolkit.planner.reading.reader import NAMESPACES, Reader, local_url, lowered

_KEYS = ("name", "arch", "os.type", "os.release", "os.version", "directories", "grids", "profiles", "x-tags")
_TYPES = ("sharedScratch", "localScratch", "sharedStorage", "localStorage")
_DIRECTORY = ("type", "path", "sharedFileSystem", "fileServers", "freeSize", "totalSize")
_GRID = words("type contact scheduler jobtype freeMem totalMem freeSize totalSize profiles")


def read(reader: Reader, tree: Any, at: Path = ()) -> dict[str, Site]:
    """Sites by name; ``at``: where the catalog stands in its file."""
    top = reader.mapping(tree, at, ("pegasus", "sites"))
    sites: dict[str, Site] = {}
    for site in reader.each(top, "sites", at, _site):
        if site.name in sites:
            reader.wrong((*site.at, "name"), f"the site {site.name!r} is there twice")
        sites[site.name] = site
    return sites


def _site(reader: Reader, item: Any, path: Path) -> Site:
    owner = reader.mapping(item, path, _KEYS)
    before = len(reader.deferred)
    site = Site(
        name=reader.text(owner, "name", path, required=True),
        at=path,
        file=reader.file,
        arch=reader.text(owner, "arch", path),
        os=reader.text(owner, "os.type", path),
        directories=reader.each(owner, "directories", path, _directory),
        grids=reader.each(owner, "grids", path, _grid),
        profiles=reader.profiles(owner, path),
    )
    found = replace(site, problems=tuple(reader.deferred[before:]))
    del reader.deferred[before:]
    return found


def _directory(reader: Reader, item: Any, path: Path) -> Directory:
    owner = reader.mapping(item, path, _DIRECTORY)
    place = reader.expanded(reader.text(owner, "path", path, required=True), (*path, "path"))
    if place and not place.startswith("/"):
        reader.deferred.append(((*path, "path"), f"expected an absolute path, found {place!r}"))
    servers = reader.each(owner, "fileServers", path, _server)
    if not servers:
        reader.wrong((*path, "fileServers"), "expected at least one file server")
    return Directory(reader.choice(owner, "type", path, _TYPES, _TYPES[0]), place, servers)


def _server(reader: Reader, item: Any, path: Path) -> FileServer:
    server = reader.mapping(item, path, ("url", "operation", "profiles"))
    operation = reader.choice(server, "operation", path, ("all", "get", "put"), "all")
    return FileServer(reader.url(server, "url", path), operation)


def _grid(reader: Reader, item: Any, path: Path) -> Grid:
    owner = reader.mapping(item, path, _GRID)
    return Grid(
        reader.text(owner, "type", path, required=True),
        reader.text(owner, "contact", path),
        reader.text(owner, "scheduler", path),
        reader.text(owner, "jobtype", path),
    )


def above(lower: dict[str, Site], upper: dict[str, Site]) -> dict[str, Site]:
    """Sites of both; of one in both, what ``upper`` says goes before. An empty profile removes one."""
    found = {**lower, **upper}
    for name in lower.keys() & upper.keys():
        low, high = lower[name], upper[name]
        profiles = {}
        for space in {**low.profiles, **high.profiles}:
            table = {**low.profiles.get(space, {}), **high.profiles.get(space, {})}
            profiles[space] = {key: value for key, value in table.items() if value}
        found[name] = replace(
            high,
            arch=high.arch or low.arch,
            os=high.os or low.os,
            directories=high.directories or low.directories,
            grids=high.grids or low.grids,
            profiles=profiles,
            problems=(*high.problems, *low.problems),
        )
    return found


_PROFILE = re.compile(r"pegasus\.catalog\.site\.sites\.(.+)\.profiles\.([a-z]+)\.(.+)")


def with_profiles(
    sites: dict[str, Site], properties: Mapping[str, str]
) -> tuple[dict[str, Site], list[Problem]]:
    """With the profiles that properties name (``pegasus.catalog.site.sites.SITE.profiles.SPACE.KEY``)."""
    found, problems = dict(sites), []
    for key, value in properties.items():
        match = _PROFILE.fullmatch(key)
        if match is None:
            continue
        name, space, profile = match.groups()
        if name not in found or space not in NAMESPACES:
            message = f"unknown site {name!r}" if name not in found else f"unknown namespace {space!r}"
            problems.append(Problem("properties", (key,), message))
            continue
        site = found[name]
        table = {**site.profiles.get(space, {}), **lowered(space, {profile: value})}
        found[name] = replace(site, profiles={**site.profiles, space: table})
    return found, problems


def with_defaults(sites: dict[str, Site], base: str) -> dict[str, Site]:
    """With ``local`` and ``condorpool`` below ``base``, where they are not there, as upstream adds them."""

    def at(type: str, path: str) -> Directory:
        return Directory(type, f"{base}/{path}", (FileServer(local_url(f"{base}/{path}", "/")),))

    places = (at("sharedScratch", "wf-scratch/LOCAL"), at("localStorage", "wf-output"))
    pool = {"condor": {"universe": "vanilla"}, "pegasus": {"style": "condor", "auxillary.local": "true"}}
    added = (
        Site(name=LOCAL, directories=places),
        Site(name=CONDORPOOL, directories=(at("sharedScratch", "wf-scratch/CONDORPOOL"),), profiles=pool),
    )
    return {**sites, **{one.name: one for one in added if one.name not in sites}}
