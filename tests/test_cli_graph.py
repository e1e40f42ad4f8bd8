"""``pegasus-graph`` as a program, and what it makes of graphs before it draws them."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.monitor import dot, graph, svg
from pegasus_toolkit.monitor.graph import Box, Graph
from tests.monitor_world import command, recorded
from tests.workflows.shapes import make

RECT = re.compile(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"')


def boxes(*names: str) -> tuple[Box, ...]:
    return tuple(Box(name, name[0]) for name in names)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph without a cycle: arrows lead from earlier to later."""
    names = draw(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=12))
    pairs = list(itertools.combinations(range(len(names)), 2))
    edges = draw(st.sets(st.sampled_from(pairs))) if pairs else set()
    return Graph("g", boxes(*names), tuple(sorted(edges)))


def reached(one: Graph) -> set[tuple[int, int]]:
    """All pairs of which the second comes after the first."""
    found = set(one.edges)
    while more := {(a, d) for a, b in found for c, d in one.edges if b == c} - found:
        found |= more
    return found


@given(graphs())
def test_simplified_it_says_the_same_with_fewest_arrows(one: Graph) -> None:
    less = graph.simplified(one)
    assert reached(less) == reached(one) and set(less.edges) <= set(one.edges)
    for edge in less.edges:
        assert reached(less._replace(edges=tuple(set(less.edges) - {edge}))) != reached(one)


@given(graphs(), st.sets(st.integers(0, 11)))
def test_what_is_left_out_is_gone_past(one: Graph, out: set[int]) -> None:
    kept = [at for at in range(len(one.boxes)) if at not in out]
    less = graph.only(one, lambda at: at not in out)
    assert less.boxes == tuple(one.boxes[at] for at in kept)
    assert {(kept[a], kept[b]) for a, b in reached(less)} == {
        (a, b) for a, b in reached(one) if a in kept and b in kept
    }


@given(graphs())
def test_collapsed_it_has_a_box_for_all_that_are_alike(one: Graph) -> None:
    level = graph.levels(one)
    less = graph.collapsed(one)
    assert sum(box.many for box in less.boxes) == len(one.boxes)
    assert len(less.boxes) == len({(level[at], box.group) for at, box in enumerate(one.boxes)})
    assert all(a != b for a, b in less.edges)


@given(graphs())
def test_svg_is_xml_and_no_two_boxes_meet(one: Graph) -> None:
    text = svg.render(one)
    ElementTree.fromstring(text)
    places = [tuple(map(float, match)) for match in RECT.findall(text)]
    assert len(places) == len(one.boxes)
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(places, 2):
        assert x + w <= x2 + 0.2 or x2 + w2 <= x + 0.2 or y + h <= y2 + 0.2 or y2 + h2 <= y + 0.2
    assert text.count("<path d=") == len(one.edges) + 1  # the arrow's tip


@given(st.text())
def test_any_name_is_one_string_of_dot(name: str) -> None:
    quoted = dot.quoted(name)
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', quoted) and "\n" not in quoted


def test_arrows_point_down() -> None:
    one = Graph("g", boxes("a", "b", "c"), ((0, 1), (0, 2), (1, 2)))
    text = svg.render(one)
    tops = [float(y) for _, y, _, _ in RECT.findall(text)]
    assert tops == sorted(tops) and len(set(tops)) == 3


@pytest.fixture
def diamond(tmp_path: Path) -> Path:
    return make("diamond", tmp_path, "condorio").root


def labels(text: str) -> list[str]:
    return re.findall(r'^  n\d+ \[label="(.*?)",', text, re.MULTILINE)


def test_an_abstract_workflow(diamond: Path) -> None:
    done = command("graph", "workflow.yml", cwd=diamond)
    assert (done.returncode, done.stderr) == (0, "")
    assert labels(done.stdout) == ["preprocess", "findrange", "findrange", "analyze"]
    assert re.findall(r"n(\d) -> n(\d);", done.stdout) == [("0", "1"), ("0", "2"), ("1", "3"), ("2", "3")]


def test_labels_and_files(diamond: Path) -> None:
    xform = command("graph", "-l", "xform-id", "workflow.yml", cwd=diamond).stdout
    assert labels(xform)[0] == "keg\\npreprocess00001"
    files = command("graph", "--files", "workflow.yml", cwd=diamond).stdout
    assert labels(files)[4:] == ["f.a", "f.b1", "f.b2", "f.c1", "f.c2", "f.d"]
    assert files.count("shape=ellipse") == 6 and files.count(" -> ") == 10


def test_a_transformation_left_out(diamond: Path) -> None:
    assert labels(command("graph", "-r", "keg", "workflow.yml", cwd=diamond).stdout) == []


def test_only_so_many_levels(tmp_path: Path) -> None:
    done = command("graph", "--levels", "2", recorded("failed", tmp_path))
    assert sorted(labels(done.stdout)) == sorted("abcdhkpnf")


def test_large_graphs_are_drawn_together_unless_all_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "x.dag").write_text("".join(f"JOB N_{n} x.sub\n" for n in range(400)))
    done = command("graph", tmp_path)
    assert labels(done.stdout) == ["N\\n400"] and "400 boxes are drawn as 1" in done.stderr
    assert len(labels(command("graph", "--all", tmp_path).stdout)) == 400
    assert len(labels(command("graph", "--most", "400", tmp_path).stdout)) == 400


@pytest.mark.parametrize("program", ["none", "broken"])
def test_svg_without_graphviz(tmp_path: Path, diamond: Path, program: str) -> None:
    """Or with one that does not work."""
    path = tmp_path / "bin"
    path.mkdir(exist_ok=True)
    if program == "broken":
        (path / "dot").write_text("#!/bin/sh\necho 'no fonts' >&2; exit 1\n")
        (path / "dot").chmod(0o755)
    done = command("graph", "-o", "w.svg", "workflow.yml", cwd=diamond, PATH=str(path))
    assert done.returncode == 0 and ("dot failed (no fonts)" in done.stderr) == (program == "broken")
    root = ElementTree.fromstring((diamond / "w.svg").read_text())
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["preprocess", "findrange", "findrange", "analyze"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_svg_by_graphviz(diamond: Path) -> None:
    done = command("graph", "--format", "svg", "workflow.yml", cwd=diamond, PATH=os.environ["PATH"])
    assert "Generated by graphviz" in done.stdout


def test_a_run_in_colours_with_their_meaning(tmp_path: Path) -> None:
    recorded("failed", tmp_path)
    done = command("graph", "--format", "svg", tmp_path, PATH="")
    words = [
        node.text for node in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert words[-3:] == ["waiting", "done", "failed"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("w.yml", "pegasus: '5.0'\njobs: [\n", "w.yml:"),
        ("w.yml", "pegasus: '5.0'\nname: w\njobs: []\n", "expected at least one job"),
        ("w.yml", None, "No such file"),
        ("w.dag", None, "no such directory"),
    ],
)
def test_what_cannot_be_drawn(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = command("graph", name, cwd=tmp_path)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_where_nothing_can_be_written(diamond: Path) -> None:
    done = command("graph", "workflow.yml", "-o", "not/there.dot", cwd=diamond)
    assert done.returncode == 2 and "not/there.dot: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.png", b"\x89PNG\r\n"),
        ("x.pdf", b"%PDF-"),
        ("x.svg", b"<?xml"),
        ("X.PNG", b"\x89PNG"),
        ("x.gv", b"digraph"),
    ],
)
def test_a_picture_is_what_its_name_says(tmp_path: Path, name: str, start: bytes) -> None:
    run = recorded("failed", tmp_path / "run")
    done = command("graph", "-o", name, run, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("name", "said"), [("x.txt", "no picture of the form '.txt'"), ("x.png", "takes Graphviz")]
)
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, name: str, said: str) -> None:
    run = recorded("failed", tmp_path / "run")
    done = command("graph", "-o", name, run, cwd=tmp_path, PATH="/nonexistent")
    assert done.returncode == 2 and said in done.stderr and not (tmp_path / name).exists()
