"""The files of a plan, read as those read them that they are for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from pegasus_toolkit.planner.compile import compile
from pegasus_toolkit.planner.model import Dag, NodeFile
from pegasus_toolkit.planner.reading.load import load
from pegasus_toolkit.planner.writing import directory
from tests.planner_world import (
    job,
    planned,
    settings,
    world,
)

AWKWARD = ["a b", "qu\"o'te", "dollar$HOME", "$(macro)", "100%", "back\\slash", "ünï", "-x", "#h;i", "{[*?]}"]
EVERYTHING = Path(__file__).parent / "golden" / "everything"


class Read(NamedTuple):
    """A DAG file: node to submit file, its variables, its parents; all lines by their first word."""

    jobs: dict[str, str]
    variables: dict[str, dict[str, str]]
    parents: dict[str, tuple[str, ...]]
    lines: dict[str, list[list[str]]]


def read_dag(text: str) -> Read:
    """As DAGMan's manual says a DAG is read; anything else in it fails."""
    found = Read({}, {}, {}, {})
    for line in text.splitlines():
        word, *rest = line.split()
        found.lines.setdefault(word, []).append(rest)
        if word in ("JOB", "FINAL", "SUBDAG"):
            rest = rest[:-1] if rest[-1] == "NOOP" else rest
            name, file = rest[-2:] if word != "SUBDAG" else rest[1:3]
            assert re.fullmatch(r"[A-Za-z0-9_-]+", name) and name not in found.jobs
            found.jobs[name] = file if word != "SUBDAG" else ""
        elif word == "VARS":
            found.variables[rest[0]] = dict(read_variables(line.split(None, 2)[2]))
        elif word == "PARENT":
            at = rest.index("CHILD")
            for child in rest[at + 1 :]:
                found.parents[child] = (*found.parents.get(child, ()), *rest[:at])
        else:
            known = ("#", "CONFIG", "SCRIPT", "RETRY", "CATEGORY", "PRIORITY", "MAXJOBS", "ABORT-DAG-ON")
            assert word in known, line
    return found


def read_variables(text: str) -> Iterator[tuple[str, str]]:
    pattern = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?: |$)')
    at = 0
    while at < len(text):
        match = pattern.match(text, at)
        assert match, text[at:]
        yield match[1], re.sub(r"\\(.)", r"\1", match[2])
        at = match.end()


def contents(dag: Dag) -> dict[str, str]:
    return {name: content.decode() for name, content in directory.files(dag, "x")}


def expanded(files: Mapping[str, str], node: str) -> dict[str, str]:
    """A node's submit description as HTCondor reads it, with its variables in."""
    htcondor2 = pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")
    dag = read_dag(files["x.dag"])
    submit = htcondor2.Submit(files[dag.jobs[node].removeprefix("/submit/")])
    for key, value in dag.variables.get(node, {}).items():
        submit[key] = value
    return {key: submit.expand(key) for key in submit.keys()}  # noqa: SIM118  no mapping of its own


def node_files(files: Mapping[str, str]) -> dict[str, NodeFile]:
    decode = msgspec.json.Decoder(NodeFile).decode
    lines = [line for name, text in files.items() if name.endswith(".jsonl") for line in text.splitlines()]
    found = [decode(line) for line in lines]
    assert len({one.node for one in found}) == len(found)
    return {one.node: one for one in found}


def everything(configuration: str = "nonsharedfs") -> Dag:
    found = load("workflow.yml", {}, {}, str(EVERYTHING))
    return compile(found, settings(configuration, sites=("pool", "slurm-1"), clusterers=("horizontal",)))


def awkward(tmp_path: Path, configuration: str) -> Dag:
    jobs = [
        job(f"j{n}", [f"in {name}"], [f"out {name}!"], arguments=[f"in {name}"])
        for n, name in enumerate(AWKWARD)
    ]
    return planned(world(tmp_path, jobs), configuration)
