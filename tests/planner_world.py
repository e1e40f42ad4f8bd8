"""Small workflows for the planner's tests: YAML as Pegasus' API writes it, settings, a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import Dag, Move, Node, PlanError, Remove, Settings
from pegasus_toolkit.planner.reading.load import Loaded, load

RUN = "R1"
SCRATCH = f"joe/pegasus/w/{RUN}"


def site(name: str, *urls: str, storage: str = "", **pegasus: str) -> dict[str, Any]:
    """With one scratch directory; ``urls``: its servers (default: its files)."""
    path = f"/s/{name}"
    places = [{"type": "sharedScratch", "path": path, "fileServers": _servers(urls or (f"file://{path}",))}]
    if storage:
        places.append(
            {"type": "localStorage", "path": storage, "fileServers": _servers((f"file://{storage}",))}
        )
    return {"name": name, "directories": places, "profiles": {"pegasus": pegasus}}


def _servers(urls: Sequence[str]) -> list[dict[str, str]]:
    return [{"url": url, "operation": "all"} for url in urls]


def use(lfn: str, type: str = "input", **more: Any) -> dict[str, Any]:
    return {"lfn": lfn, "type": type, **more}


def job(id: str, inputs: Sequence[str] = (), outputs: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """``outputs``: a name that ends with ``!`` is staged out and registered."""
    uses = [use(lfn) for lfn in inputs]
    for lfn in outputs:
        keep = lfn.endswith("!")
        uses.append(use(lfn.rstrip("!"), "output", stageOut=keep, registerReplica=keep))
    return {"type": "job", "name": "keg", "id": id, "arguments": ["-i", *inputs], "uses": uses, **more}


LOCAL = site("local", storage="/s/out")
POOL = site("pool", style="condor", **{"auxillary.local": "true"})
KEG = {"name": "keg", "sites": [{"name": "local", "pfn": "/bin/keg", "type": "stageable"}]}


def replica(lfn: str, *pfns: str, site: str = "local", **more: Any) -> dict[str, Any]:
    return {"lfn": lfn, "pfns": [{"site": site, "pfn": pfn} for pfn in pfns or (f"/d/{lfn}",)], **more}


def world(
    directory: Path,
    jobs: Sequence[Mapping[str, Any]],
    *,
    replicas: Sequence[Mapping[str, Any]] = (),
    sites: Sequence[Mapping[str, Any]] = (LOCAL, POOL),
    transformations: Sequence[Mapping[str, Any]] = (KEG,),
    **more: Any,
) -> Path:
    """Writes the four files (in JSON, which is YAML); inputs that no job makes get replicas."""
    made = {u["lfn"] for one in jobs for u in one.get("uses", ()) if u["type"] == "output"}
    known = {one["lfn"] for one in replicas}
    needed = dict.fromkeys(u["lfn"] for one in jobs for u in one.get("uses", ()) if u["type"] == "input")
    found = [replica(lfn) for lfn in needed if lfn not in made and lfn not in known]
    files = {
        "workflow.yml": {"name": "w", "jobs": list(jobs), **more},
        "replicas.yml": {"replicas": [*replicas, *found]},
        "sites.yml": {"sites": list(sites)},
        "transformations.yml": {"transformations": list(transformations)},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps({"pegasus": "5.0.4", **content}, indent=1))
    return directory


def loaded(directory: Path, **properties: str) -> Loaded:
    return load("workflow.yml", properties, {}, str(directory))


def settings(configuration: str = "nonsharedfs", **more: Any) -> Settings:
    known: dict[str, Any] = {
        "configuration": configuration,
        "submit": "/submit",
        "run": RUN,
        "scratch": SCRATCH,
        "sites": ("pool",),
        "worker": "/bin/pegasus-worker",
        "planner": "/bin/pegasus-plan",
    }
    return Settings(**{**known, **more})


def planned(directory: Path, configuration: str = "nonsharedfs", **more: Any) -> Dag:
    return compile(loaded(directory), settings(configuration, **more))


def sources(node: Node) -> set[str]:
    """Where its transfers may read from."""
    return {pfn.url for one in node.operations if isinstance(one, Move) for pfn in one.sources}


def named(dag: Dag, start: str) -> list[Node]:
    """Nodes whose names begin so."""
    return [node for node in dag.nodes if node.name.startswith(start)]


def ancestors(dag: Dag, name: str) -> set[str]:
    """All nodes that end before ``name`` begins."""
    found: set[str] = set()
    left = [name]
    while left:
        for parent in dag.parents[left.pop()]:
            if parent not in found:
                found.add(parent)
                left.append(parent)
    return found


def shape(name: str, n: int = 3) -> list[dict[str, Any]]:
    """The jobs of diamond, split, merge, pipeline and fan."""
    if name == "diamond":
        return [
            job("a", ["f.a"], ["f.b1", "f.b2"]),
            job("b", ["f.b1"], ["f.c1"]),
            job("c", ["f.b2"], ["f.c2"]),
            job("d", ["f.c1", "f.c2"], ["f.d!"]),
        ]
    if name == "split":
        return [
            job("split", ["big"], [f"part{i}" for i in range(n)]),
            *(job(f"wc{i}", [f"part{i}"], [f"count{i}!"]) for i in range(n)),
        ]
    if name == "merge":
        return [
            *(job(f"ls{i}", [f"in{i}"], [f"mid{i}"]) for i in range(n)),
            job("cat", [f"mid{i}" for i in range(n)], ["all!"]),
        ]
    if name == "pipeline":
        return [job(f"s{i}", [f"f{i}"], [f"f{i + 1}{'!' if i == n - 1 else ''}"]) for i in range(n)]
    assert name == "fan"
    return [job(f"j{i:05d}", [f"in{i}"], [f"out{i}!"]) for i in range(n)]


def wrong(directory: Path, configuration: str = "nonsharedfs", **more: Any) -> list[str]:
    with pytest.raises(PlanError) as caught:
        planned(directory, configuration, **more)
    return [str(one) for one in caught.value.problems]


def moves(dag: Dag, start: str) -> list[Move]:
    return [one for node in named(dag, start) for one in node.operations if isinstance(one, Move)]


def removed(dag: Dag) -> dict[str, str]:
    """URL to the cleanup node that removes it."""
    return {
        one.target.url: node.name
        for node in named(dag, "cleanup_")
        for one in node.operations
        if isinstance(one, Remove)
    }
