"""Which worker the jobs of a plan are given: the one at their site, or one file that goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from pegasus_toolkit.planner.catalogs import LOCAL, Catalogs, Pfn
from pegasus_toolkit.planner.model import Dag, Move, Node, PlanError, Problem
from pegasus_toolkit.planner.writing.jobs import WORKER
from pegasus_toolkit.schemes import SCHEMES

_TRANSFORMATION = "pegasus::worker"


class Given(NamedTuple):
    """The plan that says which; ``files``: what is to be written beside the DAG for it."""

    dag: Dag
    files: tuple[tuple[str, bytes], ...] = ()


def give(dag: Dag, named: str, catalogs: Catalogs, environ: Mapping[str, str]) -> Given:
    """``named``: the path of what is to go with jobs, "" for one packed now. Raises ``PlanError``."""
    remote = [node for node in dag.nodes if node.site != LOCAL and node.subdag is None]
    installed = {
        site: path for site in {node.site for node in remote} if (path := _installed(catalogs, site))
    }
    carried = [node for node in remote if node.site not in installed]
    files: tuple[tuple[str, bytes], ...] = ()
    if named and carried:
        if not Path(named).is_file():
            raise PlanError([Problem("--worker", (), f"there is no such file: {named}")])
        installed[""] = named
    elif carried:
        installed[""] = f"{dag.settings.submit}/{WORKER}"
        files = ((WORKER, _packed(carried, environ)),)
    settings = replace(dag.settings, workers=installed)
    return Given(replace(dag, settings=settings), files)


def _installed(catalogs: Catalogs, site: str) -> str:
    """Its path at the site; "" where it is not known to be there."""
    known = catalogs.sites.get(site)
    path = known.profiles.get("pegasus", {}).get("worker", "") if known is not None else ""
    program = catalogs.transformations.get(_TRANSFORMATION)
    for one in program.sites if program is not None and not path else ():
        if one.name == site and not one.stageable:
            path = one.pfn.removeprefix("file://")
    return path


def _packed(nodes: list[Node], environ: Mapping[str, str]) -> bytes:
    from pegasus_toolkit.worker.pack.cache import packed
    from pegasus_toolkit.worker.pack.sources import CannotPack

    schemes = {
        pfn.url.partition("://")[0].lower() for node in nodes for pfn in _places(node) if "://" in pfn.url
    }
    extras = {SCHEMES[one].extra if one in SCHEMES else "fsspec" for one in schemes} - {""}
    home = environ.get("XDG_CACHE_HOME") or f"{environ.get('HOME') or '/nonexistent'}/.cache"
    try:
        return packed(sorted(extras), Path(home, "pegasus-toolkit"))
    except CannotPack as error:
        hint = "or say --worker FILE, or where it is installed at the site (profile pegasus.worker)"
        raise PlanError([Problem(WORKER, (), f"cannot be packed for jobs: {error}", hint=hint)]) from None


def _places(node: Node) -> Iterator[Pfn]:
    """Wherever the node fetches from and brings to."""
    for file in node.inputs:
        yield from file.sources
    for output in node.outputs:
        yield from output.destinations
    for one in node.operations:
        if isinstance(one, Move):
            yield from (*one.sources, *one.destinations)
        else:
            yield one.target
