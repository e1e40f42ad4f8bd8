"""``transformations.yml``: the programs and their containers."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.planner.catalogs import Container, Path, Transformation, TransformationSite, words
from pegasus_toolkit.planner.reading.reader import Reader
from pegasus_toolkit.planner.reading.workflow import transformation_key

_KEYS = words("namespace name version requires sites profiles hooks metadata checksum site bypass")
_SITE = words("name pfn type bypass arch os.type os.release os.version container profiles metadata")
_CONTAINER = words("name type image mounts bypass image.site checksum metadata profiles")


def read(reader: Reader, tree: Any, at: Path = ()) -> tuple[dict[str, Transformation], dict[str, Container]]:
    """Programs by key and containers by name; ``at``: where the catalog stands in its file."""
    top = reader.mapping(tree, at, ("pegasus", "transformations", "containers"))
    containers = {one.name: one for one in reader.each(top, "containers", at, _container)}
    programs: dict[str, Transformation] = {}
    for program in reader.each(top, "transformations", at, _transformation):
        if program.key in programs:
            reader.wrong((*program.at, "name"), f"the transformation {program.key!r} is there twice")
        programs[program.key] = program
        for m, site in enumerate(program.sites):
            if site.container and site.container not in containers:
                reader.wrong((*program.at, "sites", m, "container"), f"no container {site.container!r}")
    return programs, containers


def _transformation(reader: Reader, item: Any, path: Path) -> Transformation:
    owner = reader.mapping(item, path, _KEYS)
    name = reader.text(owner, "name", path, required=True)
    requires = [
        reader.text({"requires": one}, "requires", path) for one in reader.items(owner, "requires", path)
    ]
    return Transformation(
        key=transformation_key(
            reader.text(owner, "namespace", path), name, reader.text(owner, "version", path)
        ),
        name=name,
        sites=reader.each(owner, "sites", path, _site),
        requires=tuple(requires),
        checksum=reader.checksum(owner, path),
        profiles=reader.profiles(owner, path),
        metadata=reader.table(owner, "metadata", path),
        hooks=reader.hooks(owner, path),
        file=reader.file,
        at=path,
    )


def _site(reader: Reader, item: Any, path: Path) -> TransformationSite:
    owner = reader.mapping(item, path, _SITE)
    return TransformationSite(
        name=reader.text(owner, "name", path, required=True),
        pfn=reader.url(owner, "pfn", path),
        stageable=reader.choice(owner, "type", path, ("installed", "stageable"), "installed") == "stageable",
        bypass=reader.flag(owner, "bypass", path, False),
        arch=reader.text(owner, "arch", path),
        os=reader.text(owner, "os.type", path),
        container=reader.text(owner, "container", path),
        profiles=reader.profiles(owner, path),
        metadata=reader.table(owner, "metadata", path),
    )


def _container(reader: Reader, item: Any, path: Path) -> Container:
    owner = reader.mapping(item, path, _CONTAINER)
    mounts = reader.items(owner, "mounts", path)
    return Container(
        name=reader.text(owner, "name", path, required=True),
        type=reader.choice(owner, "type", path, ("docker", "singularity", "shifter"), "singularity"),
        image=reader.url(owner, "image", path),
        image_site=reader.text(owner, "image.site", path),
        bypass=reader.flag(owner, "bypass", path, False),
        mounts=tuple(reader.text({"mounts": mount}, "mounts", path) for mount in mounts),
        checksum=reader.checksum(owner, path),
        profiles=reader.profiles(owner, path),
    )
