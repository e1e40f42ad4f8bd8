"""What must hold in every plan, whatever the workflow: asked of workflows made by chance."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from pegasus_toolkit.planner.model import CONFIGURATIONS, Dag, MakeDirectory, Move, PlanError
from pegasus_toolkit.planner.passes.structure import sort
from tests.planner_world import KEG, LOCAL, POOL, SCRATCH, ancestors, job, planned, site, world

TWO = site("two", "http://two/s")
THREE = site("three", "s3://u@three/b", **{"auxillary.local": "true"})
SITES = [LOCAL, POOL, TWO, THREE]
SCRATCHES = {one["name"]: f"{one['directories'][0]['fileServers'][0]['url']}/{SCRATCH}" for one in SITES}


@st.composite
def workflows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to 12 jobs, each with files of those before it and some that nobody makes, at chosen sites."""
    jobs: list[dict[str, Any]] = []
    made: list[str] = []
    for n in range(draw(st.integers(1, 12))):
        inputs = draw(st.lists(st.sampled_from([*made, "raw1", "raw2", f"own{n}"]), unique=True, max_size=4))
        outputs = [f"f{n}.{m}" for m in range(draw(st.integers(0, 2)))]
        made += outputs
        keep = draw(st.lists(st.booleans(), min_size=2, max_size=2))
        one = job(f"j{n}", inputs, [f"{lfn}{'!' * yes}" for lfn, yes in zip(outputs, keep, strict=False)])
        one["profiles"] = {"pegasus": {"label": draw(st.sampled_from(["", "x", "y"])), "clusters.size": "2"}}
        for use in one["uses"]:
            use["bypass"] = use["type"] == "input" and draw(st.booleans())
        where = draw(st.sampled_from(["", "pool", "two", "three"]))
        if where:
            one["profiles"]["selector"] = {"execution.site": where}
        jobs.append(one)
    return jobs


class Files(NamedTuple):
    """By URL: who puts it there, who makes the directory, who removes it; and who uses what."""

    put: dict[str, str]
    made: dict[str, str]
    gone: dict[str, str]
    used: list[tuple[str, str]]


def files(dag: Dag) -> Files:
    found = Files({}, {}, {}, [])
    for node in dag.nodes:
        for one in node.operations:
            if isinstance(one, Move):
                found.put.update((pfn.url, node.name) for pfn in one.destinations)
                found.used.extend((pfn.url, node.name) for pfn in one.sources)
            else:
                (found.made if isinstance(one, MakeDirectory) else found.gone)[one.target.url] = node.name
        found.put.update((pfn.url, node.name) for one in node.outputs for pfn in one.destinations)
        found.used.extend((pfn.url, node.name) for one in node.inputs for pfn in one.sources)
        if node.directory:  # sharedfs: files are where they are
            found.put.update((f"{SCRATCHES[node.site]}/{one.lfn}", node.name) for one in node.outputs)
            found.used.extend((f"{SCRATCHES[node.site]}/{one.lfn}", node.name) for one in node.inputs)
    return found


def check(dag: Dag) -> None:
    above = {node.name: ancestors(dag, node.name) for node in dag.nodes}
    order, cycle = sort([node.name for node in dag.nodes], dag.parents)
    assert not cycle and len(order) == len(dag.nodes)
    assert all(set(node.metas) <= above[node.name] for node in dag.nodes)
    put, made, gone, used = files(dag)
    assert all(f"/{SCRATCH}" in url for url in gone)
    for url, user in used:
        if f"/{SCRATCH}/" in url:
            assert put[url] in above[user]  # there before it is used
            assert user in above[gone[url]]  # and until then
    for url, by in put.items():
        if f"/{SCRATCH}/" in url:
            directory = url.partition(SCRATCH)[0] + SCRATCH
            assert made[directory] in above[by]
            assert by in above[gone[url]] and gone[url] in above[gone[directory]]
    assert made.keys() <= gone.keys()


@settings(max_examples=60, deadline=None)
@given(
    workflows(),
    st.sampled_from(CONFIGURATIONS),
    st.sampled_from([(), ("horizontal",), ("label",), ("label", "horizontal")]),
    st.sampled_from([("pool",), ("pool", "two"), ("two", "three")]),
)
def test_files_are_there_when_they_are_used_and_gone_when_they_are_not(
    jobs: list[dict[str, Any]], configuration: Any, clusterers: tuple[str, ...], sites: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        world(Path(directory), jobs, sites=SITES, transformations=[KEG])
        environ = {"PEGASUS_CREDENTIALS": "/c"}
        try:
            dag = planned(Path(directory), configuration, clusterers=clusterers, sites=sites, environ=environ)
        except PlanError as error:
            # By chance, labels may be such that clusters wait for each other.
            assert [p.file for p in error.problems] == ["--cluster"]
            return
    check(dag)
    assert {id for node in dag.nodes for id in node.jobs} == {one["id"] for one in jobs}
