"""A DAG as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Variable(NamedTuple):
    """Of ``VARS``. ``append``: set after the submit file, not before; None: as DAGMan is configured."""

    key: str
    value: str
    append: bool | None


class Script(NamedTuple):
    """``command``: its words, with their ``$`` macros. ``defer``: the exit code that says "later", and after
    how many seconds. ``debug``: the file its output goes to, and which: STDOUT, STDERR or ALL."""

    command: tuple[str, ...]
    defer: tuple[int, int] | None = None
    debug: tuple[str, str] | None = None


class Node(NamedTuple):
    """One node.

    ``submit``: its submit file or the name of a description, as written; ``inline``: the description itself
    if it stands in the DAG; ``subdag``: the DAG that it is instead. ``directory``: where it is submitted, as
    written. ``abort_on``: the exit code that ends the DAG, and the DAG's own then (None: the same).
    """

    name: str
    kind: Literal["JOB", "FINAL", "SUBDAG"]
    file: str
    line: int
    submit: str = ""
    inline: str | None = None
    subdag: str = ""
    directory: str = ""
    noop: bool = False
    done: bool = False
    variables: tuple[Variable, ...] = ()
    pre: Script | None = None
    post: Script | None = None
    hold: Script | None = None
    pre_skip: int | None = None
    retries: int = 0
    unless_exit: int | None = None
    category: str = ""
    priority: int = 0
    abort_on: tuple[int, int | None] | None = None


class Edge(NamedTuple):
    """One ``PARENT ... CHILD ...`` line: each of the children waits for all of the parents."""

    parents: tuple[str, ...]
    children: tuple[str, ...]


class Dag(NamedTuple):
    """A DAG file.

    ``nodes``: in the order of the file, the final one among them. ``descriptions``: of SUBMIT-DESCRIPTION.
    ``config``: a file of DAGMan's settings, "" if there is none. ``environment``: to be set for DAGMan,
    ``inherited`` what it takes from its user. ``ignored``: words that a run elsewhere does without.
    """

    file: str
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...] = ()
    final: str = ""
    limits: Mapping[str, int] = {}
    descriptions: Mapping[str, str] = {}
    config: str = ""
    environment: Mapping[str, str] = {}
    inherited: tuple[str, ...] = ()
    status_file: str = ""
    ignored: tuple[str, ...] = ()

    def parents(self) -> dict[str, list[str]]:
        """For each node those that it waits for. Large where many wait for many."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for edge in self.edges:
            for child in edge.children:
                found[child] += edge.parents
        return {name: list(dict.fromkeys(names)) for name, names in found.items()}
