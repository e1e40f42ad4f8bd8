"""Files of a run that differ from what was made: which nodes have to run again, and that they do.

A file that a job made, or that was staged in, may be damaged before others use it. They verify it and fail;
who made it is done and would not run again. Here it is taken from the newest rescue file's DONE nodes, with
all that depends on it. What it needs itself and was cleaned up is made again as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

import msgspec

from pegasus_toolkit.dag import rescue
from pegasus_toolkit.dag.model import Dag
from pegasus_toolkit.dag.read import read
from pegasus_toolkit.integrity import digests, meta
from pegasus_toolkit.planner.catalogs import LOCAL
from pegasus_toolkit.planner.model import NodeFile
from pegasus_toolkit.transfer.url import plain

LOG = "remade.jsonl"  # in the submit directory: what was made again, a line each time

Copy = tuple[str, str]
"""One copy of a file of the run: the site whose scratch directory it is in, and its LFN."""


class Remake(NamedTuple):
    """``files``: LFNs that are damaged or missing; ``makers``: the nodes that make them; ``again``: all the
    nodes that run again; ``rescue``: the file that says so, once written."""

    files: tuple[str, ...]
    makers: tuple[str, ...]
    again: tuple[str, ...]


Why = Literal["itself", "remake", "restage"]
"""Nobody asked for it: each file once, and only what was found to differ. The user asked: also what is
missing, and sources that have changed. Or only those sources, and what was done with the old ones stays."""


def due(dag: str, why: Why) -> Remake | None:
    """What a run that failed needs to have made again; ``None`` if that is nothing.

    Raises ``OSError`` and ``DagError`` where the submit directory cannot be read.
    """
    directory = _home(dag)
    newest = rescue.newest(dag)
    if newest is None:
        return None
    done = rescue.read(newest)
    plan = _Plan(directory)
    files = {lfn: node for node, lfn in _changed(directory, plan, done)} if why != "itself" else {}
    makers = dict.fromkeys(files.values())
    if why != "restage":
        for node, lfn in _damaged(directory, done, why):
            found = [one for one in plan.makers(node, lfn) if one in done]
            makers |= dict.fromkeys(found)
            files |= dict.fromkeys((lfn,) if found else (), "")
    if not makers:
        return None
    known = read(dag)
    below = set(makers) if why == "restage" else _below(known, makers)
    again = below | plan.above(below, done)
    return Remake(tuple(files), tuple(makers), tuple(name for name in known.nodes if name in again & done))


def wanted(dag: str) -> bool:
    """Whether a run that is about to end has found damaged files; asked before there is a rescue file."""
    return any(_damaged(_home(dag), (), "itself"))


def _home(dag: str) -> Path:
    """The submit directory; a DAG that was planned before may be run as a copy that is elsewhere."""
    here = Path(dag).parent
    if (here / "plan.json").exists():
        return here
    configured = read(dag).config
    return Path(configured).parent if configured else here


def changed(dag: str) -> list[str]:
    """LFNs of files of this machine that were changed after they were staged in."""
    newest = rescue.newest(dag)
    if newest is None:
        return []
    directory = _home(dag)
    return [lfn for _, lfn in _changed(directory, _Plan(directory), rescue.read(newest))]


def prepare(dag: str, what: Remake, why: Why) -> Path:
    """Lets the next run of ``dag`` begin with these nodes not done; gives the rescue file that says so."""
    directory = _home(dag)
    newest = rescue.newest(dag)
    assert newest is not None  # it was read before
    done = rescue.read(newest) - set(what.again)
    for name in what.again:  # an attempt that leaves none must not be judged by the record from before
        (directory / "records" / f"{name}.json").unlink(missing_ok=True)
    nodes = read(dag).nodes
    line = {"at": round(time.time(), 3), "why": why, **what._asdict()}
    with (directory / LOG).open("a") as file:
        file.write(json.dumps(line) + "\n")
    return rescue.write(dag, [name for name in nodes if name in done], (), len(nodes))


def _damaged(directory: Path, done: Collection[str], why: Why) -> Iterator[tuple[str, str]]:
    """Nodes that failed and the LFNs that they say are damaged."""
    before: set[str] = set()
    if why == "itself" and (directory / LOG).exists():
        lines = map(json.loads, (directory / LOG).read_text().splitlines())
        before = {lfn for line in lines if line["why"] == why for lfn in line["files"]}
    for path in sorted((directory / "records").glob("*.json")):
        if path.stem in done:
            continue
        try:
            record = json.loads(path.read_bytes())
        except ValueError:
            continue  # it was ended while it wrote that
        lost = record.get("lost", ()) if why == "remake" else ()
        yield from ((path.stem, lfn) for lfn in (*record.get("damaged", ()), *lost) if lfn not in before)


def _changed(directory: Path, plan: _Plan, done: Collection[str]) -> Iterator[tuple[str, str]]:
    """Nodes that staged files in, and the LFNs of those whose source is another by now.

    Only what was touched since is read. What a catalog knows the digest of cannot be staged otherwise.
    """
    for node, lfn, path in plan.staged:
        if node in done and path.is_file():
            told = meta.read([str(directory / "records" / f"{node}.meta")])
            was, record = told.find(lfn) if lfn in told else None, directory / "records" / f"{node}.json"
            if was and record.exists() and path.stat().st_mtime > record.stat().st_mtime:
                now = digests.of_file(str(path), was.algorithm)
                if now.digest != was.digest:
                    yield node, lfn


class _Plan:
    """Who makes, uses and removes which copy of a file, as the worker's bundles and specifications say."""

    def __init__(self, directory: Path) -> None:
        self._made: dict[Copy, str] = {}
        self._used: dict[str, set[Copy]] = {}
        self._removed: dict[Copy, str] = {}
        self.staged: list[tuple[str, str, Path]] = []  # node, LFN, the source on this machine
        decode = msgspec.json.Decoder(NodeFile).decode
        for path in sorted((directory / "jobs").glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                self._node(decode(line), directory)

    def _node(self, node: NodeFile, directory: Path) -> None:
        used = self._used.setdefault(node.node, set())
        for made in node.outputs:
            sites = [pfn.site for pfn in made.destinations] or [node.site]
            self._made.update({(site, made.lfn): node.node for site in sites})
        for one in node.inputs:
            at = LOCAL if one.delivered else node.site
            used |= {(site, one.lfn) for site in [pfn.site for pfn in one.sources] or [at]}
        for entry in _entries(directory, node.specification):
            if entry["type"] == "transfer":
                used |= {(place["site_label"], entry["lfn"]) for place in entry["src_urls"]}
                copies = ((place["site_label"], entry["lfn"]) for place in entry["dest_urls"])
                if node.kind in ("stage_in", "inter_site"):
                    self._made.update(dict.fromkeys(copies, node.node))
                if node.kind == "stage_in" and "checksum" not in entry:
                    self._source(node, entry)
            elif entry["type"] == "remove":
                url = entry["target"]["url"]
                path = plain(url) if url.startswith("file:") else unquote(url)
                lfn = path.partition(f"/{node.run}/")[2]  # below the run's own directory
                self._removed[entry["target"]["site_label"], lfn] = node.node

    def _source(self, node: NodeFile, entry: dict[str, Any]) -> None:
        """The first place counts, as it is tried first."""
        url = plain(entry["src_urls"][0]["url"])
        if node.site == LOCAL and url.startswith("file://"):
            self.staged.append((node.node, entry["lfn"], Path(url[7:])))

    def makers(self, node: str, lfn: str) -> Iterator[str]:
        """The nodes that made what ``node`` was given as ``lfn``."""
        yield from (
            self._made[one] for one in sorted(self._used[node]) if one[1] == lfn and one in self._made
        )

    def above(self, nodes: Iterable[str], done: Collection[str]) -> set[str]:
        """Those before that make what these need and what was cleaned up since."""
        found = set()
        left = list(nodes)
        while left:
            for one in self._used.get(left.pop(), ()):
                maker = self._made.get(one)
                if maker and maker not in found and self._removed.get(one) in done:
                    found.add(maker)
                    left.append(maker)
        return found


def _entries(directory: Path, specification: str) -> list[dict[str, Any]]:
    if not specification:
        return []
    found: list[dict[str, Any]] = json.loads((directory / "jobs" / specification).read_bytes())
    return found


def _below(dag: Dag, nodes: Iterable[str]) -> set[str]:
    """These and all that wait for them."""
    children: dict[str, set[str]] = {}
    for edge in dag.edges:
        for parent in edge.parents:
            children.setdefault(parent, set()).update(edge.children)
    found: set[str] = set()
    left = list(nodes)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += children.get(name, ())
    return found


def told(what: Remake) -> str:
    """In words, for people."""
    files, makers = ", ".join(map(repr, what.files)), ", ".join(what.makers)
    count = len(what.again)
    again = f"{count} nodes run again" if count > 1 else "1 node runs again"
    return f"{files}: not as {makers} left {'it' if len(what.files) == 1 else 'them'}; {again}"
