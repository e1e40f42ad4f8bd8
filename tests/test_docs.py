"""The pages for people: links lead somewhere, decisions are listed, and what they say to type works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pegasus_toolkit.cli import plan_options
from pegasus_toolkit.transfer import load

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"])
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
SPECIFICATIONS = [
    (page, text)
    for page in PAGES
    for text in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    if '"src_urls"' in text
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    pages = sorted(page.name for page in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert pages
    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize(("page", "text"), SPECIFICATIONS, ids=lambda value: getattr(value, "name", ""))
def test_specifications_in_the_pages_are_read(page: Path, text: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(text)
    assert len(load(str(spec), {})) == len(json.loads(text))


def test_there_are_specifications_to_try() -> None:
    assert any(page.name == "README.md" for page, _ in SPECIFICATIONS)


def test_the_table_of_options_is_that_of_pegasus_plan() -> None:
    page = (
        (ROOT / "docs/planner/README.md")
        .read_text()
        .partition("## Options")[2]
        .partition("## From Python")[0]
    )
    told = set(re.findall(r"(?<![\w-])--?[A-Za-z][a-z-]*", page))
    known = {name for action in plan_options._parser()._actions for name in action.option_strings}
    inner = {"--above", "--mend", "--help", "-h", "--version", "-V", "--output-site"}
    assert told - known == set()
    assert {one for one in known - told - inner if one.startswith("--")} == set()
