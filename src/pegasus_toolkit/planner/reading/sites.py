"""``sites.yml``: where jobs run and files stay."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.planner.catalogs import LOCAL, Directory, FileServer, Grid, Path, Site
from pegasus_toolkit.planner.reading.reader import Reader, local_url

_KEYS = ("name", "arch", "os.type", "os.release", "os.version", "directories", "grids", "profiles", "x-tags")
_TYPES = ("sharedScratch", "localScratch", "sharedStorage", "localStorage")
_DIRECTORY = ("type", "path", "sharedFileSystem", "fileServers", "freeSize", "totalSize")
_GRID = (
    "type",
    "contact",
    "scheduler",
    "jobtype",
    "freeMem",
    "totalMem",
    "freeSize",
    "totalSize",
    "profiles",
)


def read(reader: Reader, tree: Any, at: Path = ()) -> dict[str, Site]:
    """Sites by name; ``at``: where the catalog stands in its file."""
    top = reader.mapping(tree, at, ("pegasus", "sites"))
    sites: dict[str, Site] = {}
    for n, item in enumerate(reader.items(top, "sites", at)):
        site = _site(reader, item, (*at, "sites", n))
        if site.name in sites:
            reader.wrong((*site.at, "name"), f"the site {site.name!r} is there twice")
        sites[site.name] = site
    return sites


def _site(reader: Reader, item: Any, path: Path) -> Site:
    owner = reader.mapping(item, path, _KEYS)
    return Site(
        name=reader.text(owner, "name", path, required=True),
        at=path,
        file=reader.file,
        arch=reader.text(owner, "arch", path),
        os=reader.text(owner, "os.type", path),
        directories=tuple(
            _directory(reader, one, (*path, "directories", n))
            for n, one in enumerate(reader.items(owner, "directories", path))
        ),
        grids=tuple(
            _grid(reader, one, (*path, "grids", n))
            for n, one in enumerate(reader.items(owner, "grids", path))
        ),
        profiles=reader.profiles(owner, path),
    )


def _directory(reader: Reader, item: Any, path: Path) -> Directory:
    owner = reader.mapping(item, path, _DIRECTORY)
    place = reader.expanded(reader.text(owner, "path", path, required=True), (*path, "path"))
    if place and not place.startswith("/"):
        reader.wrong((*path, "path"), f"expected an absolute path, found {place!r}")
    servers = []
    for n, one in enumerate(reader.items(owner, "fileServers", path)):
        here = (*path, "fileServers", n)
        server = reader.mapping(one, here, ("url", "operation", "profiles"))
        operation = reader.choice(server, "operation", here, ("all", "get", "put"), "all")
        servers.append(FileServer(reader.url(server, "url", here), operation))
    if not servers:
        reader.wrong((*path, "fileServers"), "expected at least one file server")
    return Directory(reader.choice(owner, "type", path, _TYPES, _TYPES[0]), place, tuple(servers))


def _grid(reader: Reader, item: Any, path: Path) -> Grid:
    owner = reader.mapping(item, path, _GRID)
    return Grid(
        reader.text(owner, "type", path, required=True),
        reader.text(owner, "contact", path),
        reader.text(owner, "scheduler", path),
        reader.text(owner, "jobtype", path),
    )


def with_defaults(sites: dict[str, Site], base: str) -> dict[str, Site]:
    """``local`` and, where no other site is there, ``condorpool``, below ``base``, as upstream adds them."""
    found = dict(sites)
    if LOCAL not in found:
        found[LOCAL] = Site(
            name=LOCAL,
            directories=(
                _at("sharedScratch", f"{base}/wf-scratch/LOCAL"),
                _at("localStorage", f"{base}/wf-output"),
            ),
        )
    if not sites:
        found["condorpool"] = Site(
            name="condorpool",
            directories=(_at("sharedScratch", f"{base}/wf-scratch/CONDORPOOL"),),
            profiles={
                "condor": {"universe": "vanilla"},
                "pegasus": {"style": "condor", "auxillary.local": "true"},
            },
        )
    return found


def _at(type: str, path: str) -> Directory:
    return Directory(type, path, (FileServer(local_url(path, "/")),))
