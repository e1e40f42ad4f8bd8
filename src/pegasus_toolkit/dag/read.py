"""Reads a ``.dag`` file, as DAGMan reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, cast

from pegasus_toolkit.dag.model import Dag
from pegasus_toolkit.dag.problems import DagError, Problem
from pegasus_toolkit.dag.statements import STATEMENTS, Draft, node, options
from pegasus_toolkit.dag.words import Words, Wrong

_NODES = ("JOB", "FINAL", "SUBDAG")
_DESCRIPTION = "SUBMIT_DESCRIPTION"


def read(file: str | Path) -> Dag:
    """The DAG in ``file``, with what it includes.

    Raises :class:`DagError` with all that is wrong: lines that DAGMan would refuse, nodes that are not
    there, cycles, and what is not supported here.
    """
    reading = _Reading(str(file))
    reading.file(str(file))
    reading.about_nodes()
    draft = reading.draft
    if not reading.problems:
        reading.problems += _whole(draft)
    if reading.problems:
        raise DagError(reading.problems)
    return Dag(
        file=str(file),
        nodes=draft.nodes,
        edges=tuple(draft.edges),
        final=draft.final,
        limits=draft.limits,
        descriptions=draft.descriptions,
        config=draft.config,
        environment=draft.environment,
        inherited=tuple(draft.inherited),
        status_file=draft.status_file,
        ignored=tuple(draft.ignored),
    )


class _Reading:
    def __init__(self, file: str) -> None:
        self.draft = Draft(file)
        self.problems: list[Problem] = []
        self.later: list[tuple[str, int, str, Words]] = []
        self.including: list[str] = []

    def file(self, file: str) -> None:
        """All of one file; statements about nodes are kept for later."""
        try:
            text = Path(file).read_bytes().decode("utf-8", "surrogateescape")
        except OSError as error:
            self.problems.append(Problem(file, 0, f"cannot be read: {error.strerror}"))
            return
        self.including.append(file)
        lines = _Lines(text)
        for number, line in lines:
            try:
                self._line(file, number, line, lines)
            except Wrong as wrong:
                self.problems.append(Problem(file, number, str(wrong)))
        self.including.pop()

    def about_nodes(self) -> None:
        """All the rest, now that the nodes are known."""
        for file, number, word, words in self.later:
            try:
                STATEMENTS[word](self.draft, words)
            except Wrong as wrong:
                self.problems.append(Problem(file, number, str(wrong)))
        self.draft.apply()

    def _line(self, file: str, number: int, line: str, lines: _Lines) -> None:
        words = Words(line)
        word = _keyword(words)
        if word in _NODES:
            self._node(cast("Literal['JOB', 'FINAL', 'SUBDAG']", word), words, file, number, lines)
        elif word == _DESCRIPTION:
            name = words.wanted("the description's name")
            text, _ = lines.inline(words.wanted("'{' or '@=word'"))
            self.draft.descriptions[name] = text
        elif word == "INCLUDE":
            self._include(words, file)
        elif word in STATEMENTS:
            self.later.append((file, number, word, words))
        else:
            raise Wrong(f"{line.split(maxsplit=1)[0]!r} is no word of DAGMan's")

    def _node(
        self,
        kind: Literal["JOB", "FINAL", "SUBDAG"],
        words: Words,
        file: str,
        number: int,
        lines: _Lines,
    ) -> None:
        if kind == "SUBDAG" and words.next().upper() != "EXTERNAL":
            raise Wrong("expected SUBDAG EXTERNAL")
        found = node(self.draft, words, kind, file, number)
        if kind != "SUBDAG" and (found.submit == "{" or found.submit.startswith("@=")):
            text, after = lines.inline(found.submit)
            found = found._replace(submit="", inline=text)
            words = Words(after)
        if kind == "FINAL":
            if self.draft.final:
                raise Wrong(f"there is a FINAL node already: {self.draft.final}")
            self.draft.final = found.name
        self.draft.nodes[found.name] = options(found, words)

    def _include(self, words: Words, file: str) -> None:
        name = words.wanted("the file", trim=True)
        words.end()
        path = str(Path(file).parent / name)
        if path in self.including:
            raise Wrong(f"{name} includes itself")
        self.file(path)


class _Lines:
    """Numbered lines without comments; one that ends in a backslash goes on in the next."""

    def __init__(self, text: str) -> None:
        self.raw = text.split("\n")
        self.at = 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while self.at < len(self.raw):
            first, found = self.at + 1, ""
            while self.at < len(self.raw):
                line = self.raw[self.at].strip()
                self.at += 1
                if not line or line.startswith(("#", "//")):
                    if found:
                        continue
                    break
                found = f"{found} {line}" if found else line
                if not found.endswith("\\"):
                    break
                found = found[:-1]
            if found.strip():
                yield first, found.strip()

    def inline(self, begin: str) -> tuple[str, str]:
        """A description up to its end, and what follows there on the same line."""
        if begin != "{" and (not begin.startswith("@=") or begin == "@="):
            raise Wrong(f"expected '{{' or '@=word', found {begin!r}")
        end = "}" if begin == "{" else f"@{begin[2:]}"
        found: list[str] = []
        while self.at < len(self.raw):
            line = self.raw[self.at].strip()
            self.at += 1
            if line == end or line.startswith(f"{end} "):
                return "".join(f"{one}\n" for one in found), line[len(end) :]
            found.append(line)
        raise Wrong(f"the description has no end: {end}")


def _keyword(words: Words) -> str:
    """The first word; ``PRE-SKIP`` is as good as ``PRE_SKIP``."""
    return words.next().replace("-", "_").upper()


def _whole(draft: Draft) -> Iterator[Problem]:
    """What is wrong with nodes and edges together."""
    if not draft.nodes:
        yield Problem(draft.file, 0, "there is no node in it")
    for one in draft.nodes.values():
        if one.inline is None and one.submit in draft.descriptions:
            draft.nodes[one.name] = one._replace(submit="", inline=draft.descriptions[one.submit])
    if left := _cycle(draft):
        first = draft.nodes[left[0]]
        yield Problem(first.file, first.line, f"these wait for each other: {', '.join(left[:5])}")


def _cycle(draft: Draft) -> list[str]:
    """Nodes that can never run. Takes time in proportion to the file's length, not to pairs of nodes."""
    waits = dict.fromkeys(draft.nodes, 0)
    of: dict[str, list[int]] = {}
    open_parents = [len(edge.parents) for edge in draft.edges]
    for number, edge in enumerate(draft.edges):
        for child in edge.children:
            waits[child] += 1
        for parent in edge.parents:
            of.setdefault(parent, []).append(number)
    ready = [name for name, count in waits.items() if not count]
    for name in ready:  # grows
        for number in of.get(name, ()):
            open_parents[number] -= 1
            if not open_parents[number]:
                for child in draft.edges[number].children:
                    waits[child] -= 1
                    if not waits[child]:
                        ready.append(child)
    return [name for name, count in waits.items() if count]
