"""Submit files mean here what they mean to HTCondor's own code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.dag import quoting, submit
from pegasus_toolkit.dag.model import Variable
from pegasus_toolkit.dag.problems import DagError
from pegasus_toolkit.dag.words import Wrong
from pegasus_toolkit.planner.writing import quoting as written
from tests import planner_files

TEXTS = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=("Cs",)), max_size=12)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


@pytest.fixture
def htcondor2() -> Any:
    return pytest.importorskip("htcondor2", reason="HTCondor's Python bindings are not installed")


def expanded(text: str, *variables: tuple[str, str], append: bool = False) -> dict[str, str]:
    found = submit.parse(text, "x.sub")
    return found.expanded([Variable(key, value, append) for key, value in variables], {"HOME": "/home/me"})


def problems(text: str, tmp_path: Path | None = None) -> list[str]:
    with pytest.raises(DagError) as caught:
        found = submit.parse(text, "x.sub")
        found.expanded((), {})
    return [str(one) for one in caught.value.problems]


MACROS = """
plain = value
nested = a $(plain) b
deep = $(nested)$(nested)
missing = [$(nothing)]
default = [$(nothing:def $(plain))]
dollar = 5$(DOLLAR)(plain) $(DOLLAR)x
case = $(PLAIN)
later = $(after)
after = known
plain = $(plain) again
name = plain
indirect = $($(name))
path = /some/where/file.tar.gz
p = $Fp(path)
n = $Fn(path)
x = $Fx(path)
nx = $Fnx(path)
base = $BASENAME(path)
cut = $BASENAME(path,.gz)
dir = $DIRNAME(path)
lone = a $ b 100% $x
"""


def test_macros_are_expanded_as_by_htcondor(htcondor2: Any) -> None:
    theirs = htcondor2.Submit(MACROS)
    ours = expanded(MACROS)
    assert {key: theirs.expand(key) for key in ours} == ours
    assert ours["plain"] == "value again" and ours["indirect"] == "value again"


def test_continuations_comments_blocks_and_attributes() -> None:
    text = 'a = 1 \\\n  2\n# no\n\n+Name = "x"\nMY.Other = 3\nb @=end\n  one\ntwo\n@end\nc=4\nqueue\n'
    assert expanded(text) == {
        "a": "1 2",
        "my.name": '"x"',
        "my.other": "3",
        "b": "  one\ntwo",
        "c": "4",
    }


def test_variables_come_before_the_file_or_after_it() -> None:
    text = "x = file\ny = $(x) $(only)\n"
    assert expanded(text, ("x", "vars"), ("only", "1"))["y"] == "file 1"
    assert expanded(text, ("X", "vars"), ("only", "1"), append=True)["y"] == "vars 1"
    assert expanded("x = $(x) and more\n", ("x", "vars"))["x"] == "vars and more"


def test_the_environment() -> None:
    assert expanded("a = $ENV(HOME)/x $ENV(NONE:none)\n")["a"] == "/home/me/x none"
    assert problems("a = $ENV(NONE)\n") == ["x.sub:1: a: the environment has no NONE"]


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "base.sub").write_text("a = base\nb = base\n")
    file = tmp_path / "x.sub"
    file.write_text("which = base\ninclude : $(which).sub\nb = own\nqueue 1\n")
    assert submit.read(file).expanded((), {}) == {"which": "base", "a": "base", "b": "own"}
    file.write_text("which = base\ninclude ifexist : $(which).sub\ninclude ifexist : none\nqueue\n")
    assert submit.read(file).expanded((), {})["a"] == "base"
    file.write_text("include : x.sub\nqueue\n")
    with pytest.raises(DagError, match=r"x\.sub includes itself"):
        submit.read(file)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = problems("a = $(a\nb = $$(Memory)\nc = $RANDOM_CHOICE(1,2)\nd = $(e)\ne = $(d)\n")
    assert [one.split(": ")[0] for one in found] == [f"x.sub:{n}" for n in (1, 2, 3, 4, 5)]
    found = problems("nonsense\nif x\nuse feature : gpus\ninclude command : x\nqueue 3\nqueue\na = 1\n")
    assert [one.split(": ")[0] for one in found] == [f"x.sub:{n}" for n in (1, 2, 3, 4, 5, 6, 7)]
    (tmp_path / "x.sub").write_text("executable = x\n")
    with pytest.raises(DagError, match="there is no queue in it"):
        submit.read(tmp_path / "x.sub")
    with pytest.raises(DagError, match="cannot be read: No such file"):
        submit.read(tmp_path / "none.sub")


@given(st.lists(TEXTS, max_size=5))
def test_the_planners_arguments_come_back(words: list[str]) -> None:
    value = expanded(f"arguments = {written.arguments(map(written.macro, words))}\n")["arguments"]
    assert quoting.arguments(value) == words


@given(st.dictionaries(NAMES, TEXTS, max_size=4))
def test_the_planners_environment_comes_back(variables: dict[str, str]) -> None:
    value = expanded(f"environment = {written.environment(variables)}\n")["environment"]
    assert quoting.environment(value) == variables


def test_the_old_syntax() -> None:
    assert quoting.arguments(r"one  two \"three\" 'four'") == ["one", "two", '"three"', "'four'"]
    assert quoting.environment("A=1;B=two words ; C=") == {"A": "1", "B": "two words", "C": ""}
    assert quoting.listed(" a , b c,,d ") == ["a", "b c", "d"]


@pytest.mark.parametrize("value", ['"', '"a" b"', '"\'open"', '"a" "b"'])
def test_quotes_that_do_not_fit(value: str) -> None:
    with pytest.raises(Wrong):
        quoting.arguments(value)


def test_an_environment_that_is_none() -> None:
    with pytest.raises(Wrong, match="expected NAME=value, found 'x'"):
        quoting.environment('"A=1 x"')


@pytest.mark.parametrize("configuration", ["condorio", "nonsharedfs"])
def test_what_is_planned_means_to_us_what_it_means_to_htcondor(tmp_path: Path, configuration: str) -> None:
    files = planner_files.contents(planner_files.awkward(tmp_path, configuration))
    (tmp_path / "x.dag").write_text(files["x.dag"])
    from pegasus_toolkit.dag.read import read

    for name, node in read(tmp_path / "x.dag").nodes.items():
        theirs = planner_files.expanded(files, name)
        ours = submit.parse(files[node.submit.removeprefix("/submit/")], node.submit)
        found = ours.expanded(node.variables, {})
        assert {key.lower(): value for key, value in theirs.items()} == found, name
