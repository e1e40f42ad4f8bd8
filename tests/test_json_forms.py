"""What ``--json`` prints has the keys that docs/planner/json.md tells, and is all of standard output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_workflows import command, plan, run
from tests.workflows.shapes import make

PAGE = Path(__file__).parents[1] / "docs" / "planner" / "json.md"


@pytest.fixture(scope="module")
def submit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that failed."""
    world = make("stuck", tmp_path_factory.mktemp("json"), "condorio", 3)
    path = plan(world)
    assert run(world, path).returncode == 1
    return path


def documented(name: str) -> set[str]:
    """The keys that stand first in the command's section, outside of brackets."""
    section = PAGE.read_text().partition(f"## {name}\n")[2].partition("\n## ")[0]
    plain = section
    while plain != (plain := re.sub(r"\([^()]*\)", "", plain)):
        pass
    return set(re.findall(r"`(\w+)`", plain.partition("Keys:")[2].partition(". ")[0]))


def told(submit: Path, name: str, *words: str, code: int = 0) -> Any:
    done = command(submit.parent, name, *words, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pegasus-status", ()),
        ("pegasus-analyzer", ()),
        ("pegasus-statistics", ()),
        ("pegasus-graph", ()),
    ],
)
def test_the_keys_are_those_that_are_documented(submit: Path, name: str, words: tuple[str, ...]) -> None:
    assert told(submit, name, *words, str(submit)).keys() == documented(name)


def test_every_table_and_failure_is_documented(submit: Path) -> None:
    page = PAGE.read_text()
    (workflow,) = told(submit, "pegasus-analyzer", str(submit))["workflows"]
    statistics = told(submit, "pegasus-statistics", "-s", "all", str(submit))
    keys = {*workflow, *workflow["jobs"], *workflow["failures"][0], *statistics, *statistics["tasks"]}
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_of_what_is_done_to_a_run(submit: Path) -> None:
    archived = told(submit, "pegasus-submitdir", "archive", str(submit))
    assert archived.keys() == documented("pegasus-submitdir")
    told(submit, "pegasus-submitdir", "extract", str(submit))
    found = told(submit, "pegasus-rc-client", "insert", "a", "/a")
    assert found.keys() == documented("pegasus-rc-client")
    assert told(submit, "pegasus-rc-client", "lookup", "a")["replicas"][0]["lfn"] == "a"
