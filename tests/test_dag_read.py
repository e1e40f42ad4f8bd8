"""DAG files are read as DAGMan reads them; what it would refuse is told at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.dag.model import Dag, Edge, Script, Variable
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.dag.read import read
from pegasus_toolkit.dag.words import Words, Wrong
from pegasus_toolkit.planner.writing import quoting

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.dag"))


EVERYTHING = """
# a comment
// another
Job A a.sub DIR "some where" NOOP
JOB B b.sub DONE
JOB C {
    executable = /bin/true
    # of the description
} DIR d
job D shared
SUBDAG EXTERNAL E inner.dag DIR e
FINAL F f.sub
SUBMIT-DESCRIPTION shared @=end
    executable = /bin/false
@end
INCLUDE more.dag
CONFIG my.config
ENV SET ONE=1;TWO=a b
ENV GET HOME, PATH
VARS A x="1" y = 'it"s' +Attr="\\"quoted\\""
VARS A APPEND z="a\\\\b"
VARS ALL_NODES all=yes
SCRIPT PRE A /bin/pre $JOB "x y"
SCRIPT DEFER 4 10 DEBUG out.txt ALL POST A post.sh
SCRIPT HOLD A hold.sh
PRE_SKIP A 3
RETRY A 5 UNLESS-EXIT 2
RETRY B 1
CATEGORY A big
MAXJOBS big 2
PRIORITY A -7
ABORT-DAG-ON A 9 RETURN 0
ABORT_DAG_ON B 9
DONE Included
DOT x.dot UPDATE
NODE_STATUS_FILE status 30
PARENT A B CHILD C \\
    D
PARENT C CHILD E
"""

WRONG = """\
JOB A a.sub
JOB A b.sub
JOB CHILD c.sub
JOB
JOB D d.sub NOPE
SPLICE S s.dag
NONSENSE A
RETRY A many
RETRY A 1 UNTIL 2
RETRY Z 1
VARS A x
VARS A queue="1"
VARS A x="open
PARENT A CHILD
PARENT A CHILD Z
MAXJOBS big 0
SCRIPT PRE A
SCRIPT DURING A x
ABORT-DAG-ON A 1 RETURN 256
FINAL F f.sub
FINAL G g.sub
PARENT F CHILD A
DONE F
INCLUDE nowhere.dag
SUBDAG A a.dag
ENV SET x
JOB E {
executable = x
"""


def dag(tmp_path: Path, text: str) -> Dag:
    file = tmp_path / "x.dag"
    file.write_text(text)
    return read(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(DagError) as caught:
        dag(tmp_path, text)
    return [str(one).replace(f"{tmp_path}/", "") for one in caught.value.problems]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_plans_are_read(file: Path) -> None:
    found = read(file)
    lines = [line.split() for line in file.read_text().splitlines()]
    assert set(found.nodes) == {words[1] for words in lines if words[0] in ("JOB", "FINAL")}
    assert found.final == "receipt"
    assert found.config == "/submit/dagman.config"
    assert {words[1]: int(words[2]) for words in lines if words[0] == "MAXJOBS"} == found.limits
    retries = {words[1]: words[2:] for words in lines if words[0] == "RETRY"}
    for name, node in found.nodes.items():
        assert [str(node.retries), "UNLESS-EXIT", str(node.unless_exit)] == retries.get(
            name, ["0", "UNLESS-EXIT", "None"]
        )
        assert node.post is not None and node.post.command[0] == "/bin/pegasus-worker"
        assert node.variables[0] == Variable("nodename", name, None)


def test_every_statement(tmp_path: Path) -> None:
    (tmp_path / "more.dag").write_text("JOB Included i.sub\n")
    found = dag(tmp_path, EVERYTHING)
    a, b, c = (found.nodes[name] for name in "ABC")
    assert list(found.nodes) == ["A", "B", "C", "D", "E", "F", "Included"]
    assert (a.submit, a.directory, a.noop, a.done) == ("a.sub", "some where", True, False)
    assert a.variables == (
        Variable("x", "1", None),
        Variable("y", 'it"s', None),
        Variable("My.Attr", '"quoted"', None),
        Variable("z", "a\\b", True),
        Variable("all", "yes", None),
    )
    assert found.nodes["F"].variables == ()
    assert a.pre == Script(("/bin/pre", "$JOB", '"x', 'y"'))
    assert a.post == Script(("post.sh",), (4, 10), ("out.txt", "ALL"))
    assert a.hold is not None and a.pre_skip == 3
    assert (a.retries, a.unless_exit, a.category, a.priority) == (5, 2, "big", -7)
    assert (a.abort_on, b.abort_on) == ((9, 0), (9, None))
    assert (b.done, b.retries, b.unless_exit, found.nodes["Included"].done) == (True, 1, None, True)
    assert c.inline == "executable = /bin/true\n# of the description\n" and c.directory == "d"
    assert found.nodes["D"].inline == "executable = /bin/false\n"
    assert (found.nodes["E"].subdag, found.nodes["E"].directory) == ("inner.dag", "e")
    assert found.final == "F" and found.config == "my.config" and found.limits == {"big": 2}
    assert found.environment == {"ONE": "1", "TWO": "a b"} and found.inherited == ("HOME", "PATH")
    assert found.edges == (Edge(("A", "B"), ("C", "D")), Edge(("C",), ("E",)))
    assert found.parents()["C"] == ["A", "B"] and found.parents()["A"] == []
    assert found.ignored == ("DOT", "NODE_STATUS_FILE") and found.status_file == "status"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, WRONG)
    places = [int(one.split(":")[1]) for one in found if one.startswith("x.dag:")]
    assert sorted(places) == [*range(2, 20), *range(21, 24), 25, 26, 27]
    text = "\n".join(found)
    for part in (
        "x.dag:2: node 'A' is defined in",
        "x.dag:6: SPLICE is not supported",
        "x.dag:7: 'NONSENSE' is no word of DAGMan's",
        "x.dag:10: node 'Z' is not defined",
        "x.dag:13: a quote has no end",
        "x.dag:21: there is a FINAL node already: F",
        "nowhere.dag: cannot be read: No such file or directory",
        "x.dag:27: the description has no end: }",
    ):
        assert part in text


def test_a_cycle_is_told(tmp_path: Path) -> None:
    text = "JOB A x\nJOB B x\nJOB C x\nPARENT A CHILD B\nPARENT B CHILD A C\n"
    assert problems(tmp_path, text) == ["x.dag:1: these wait for each other: A, B, C"]
    assert problems(tmp_path, "JOB A x\nPARENT A CHILD A\n") == ["x.dag:1: these wait for each other: A"]


def test_an_empty_or_missing_file_and_one_that_includes_itself(tmp_path: Path) -> None:
    assert problems(tmp_path, "# nothing\n") == ["x.dag: there is no node in it"]
    assert problems(tmp_path, "JOB A x\nINCLUDE x.dag\n") == ["x.dag:2: x.dag includes itself"]
    with pytest.raises(DagError, match=r"none\.dag: cannot be read"):
        read(tmp_path / "none.dag")


def test_many_parents_of_many_children_are_one_edge(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(4000)]
    text = "".join(f"JOB {name} x\n" for name in names)
    text += f"PARENT {' '.join(names[:2000])} CHILD {' '.join(names[2000:])}\n"
    found = dag(tmp_path, text)
    assert len(found.edges) == 1 and len(found.edges[0].children) == 2000


@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",))))
def test_the_planners_vars_come_back(value: str) -> None:
    words = Words(f"VARS A key={quoting.vars_value(value)} other=1")
    words.next(), words.next()
    assert list(words.pairs()) == [("key", value), ("other", "1")]


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x==1", 'x"=1', 'x="a', "x 1"])
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(Wrong):
        list(Words(text).pairs())
