"""What every command says of itself fits into 80 columns, and keeps its columns and examples."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pegasus_toolkit.cli.help import WIDTH, fitted

COMMANDS = sorted(
    {one.name for one in entry_points(group="console_scripts") if one.value.startswith("pegasus_toolkit.")}
)


def shown(*words: str) -> str:
    program = Path(sys.executable).with_name(words[0])
    done = subprocess.run([program, *words[1:], "--help"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_a_terminal(name: str) -> None:
    text = shown(name)
    assert text
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


@pytest.mark.parametrize("verb", ["ls", "cp", "sync", "verify", "rm", "cat", "du", "check"])
def test_nor_of_a_command_within_a_command(verb: str) -> None:
    assert [line for line in shown("pegasus-files", verb).splitlines() if len(line) > WIDTH] == []


def test_columns_stay_columns_and_examples_stay_lines() -> None:
    words = " ".join(["word"] * 20)
    text = f'{words}\n{words}\n\n  left   {words}\n  short  as it is\n    {{"json": 1}}'
    lines = fitted(text).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert " ".join(lines[: lines.index("")]) == f"{words} {words}"
    (first, second) = [
        line for line in lines if line.startswith("  left") or line.startswith("         word")
    ]
    assert first.startswith("  left   word")
    assert (first[9:] + second[8:]).split() == words.split()
    assert lines[-2:] == ["  short  as it is", '    {"json": 1}']
