"""The statements of a DAG file, one function each; :mod:`read` calls them by their word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pegasus_toolkit.dag.model import Edge, Node, Script, Variable
from pegasus_toolkit.dag.words import Words, Wrong

ALL_NODES = "ALL_NODES"
_RESERVED = ("PARENT", "CHILD", ALL_NODES)
_OUTPUTS = ("STDOUT", "STDERR", "ALL")


class Draft:
    """A DAG while it is read. ``later``: statements about nodes, which may stand before these."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.nodes: dict[str, Node] = {}
        self._changes: dict[str, dict[str, Any]] = {}
        self.edges: list[Edge] = []
        self.final = ""
        self.limits: dict[str, int] = {}
        self.descriptions: dict[str, str] = {}
        self.config = ""
        self.environment: dict[str, str] = {}
        self.inherited: list[str] = []
        self.status_file = ""
        self.ignored: dict[str, None] = {}

    def change(self, name: str, **fields: Any) -> None:
        """Sets fields of a node, or of all but the final one with ``ALL_NODES``, when :meth:`apply` comes."""
        for one in self.named(name):
            self._changes.setdefault(one, {}).update(fields)

    def variables(self, name: str, found: Sequence[Variable]) -> None:
        """Adds to a node's variables, or with ``ALL_NODES`` to those of all but the final one."""
        for one in self.named(name):
            self.change(one, variables=(*self._changes.get(one, {}).get("variables", ()), *found))

    def apply(self) -> None:
        """Once for all lines about a node, since each makes it anew."""
        for one, fields in self._changes.items():
            self.nodes[one] = self.nodes[one]._replace(**fields)

    def named(self, name: str) -> list[str]:
        """The nodes meant by ``name``."""
        if name.upper() == ALL_NODES:
            return [one for one in self.nodes if one != self.final]
        if name not in self.nodes:
            raise Wrong(f"node {name!r} is not defined")
        return [name]


def node(draft: Draft, words: Words, kind: Literal["JOB", "FINAL", "SUBDAG"], file: str, line: int) -> Node:
    """``JOB name description [DIR d] [NOOP] [DONE]`` and its like, without an inline description's text."""
    name = words.wanted("the node's name")
    if name.upper() in _RESERVED:
        raise Wrong(f"{name} cannot be a node's name")
    if "+" in name:
        raise Wrong(f"a node's name cannot hold '+': {name!r}")
    if name in draft.nodes:
        before = draft.nodes[name]
        raise Wrong(f"node {name!r} is defined in {before.file}, line {before.line}, already")
    what = words.wanted("the DAG's file" if kind == "SUBDAG" else "the submit description", trim=True)
    found = Node(name, kind, file, line)
    return found._replace(subdag=what) if kind == "SUBDAG" else found._replace(submit=what)


def options(found: Node, words: Words) -> Node:
    """What may follow a node's description."""
    while word := words.next():
        match word.upper():
            case "NOOP":
                found = found._replace(noop=True)
            case "DONE":
                found = found._replace(done=True)
            case "DIR":
                found = found._replace(directory=words.wanted("the directory after DIR", trim=True))
            case _:
                raise Wrong(f"unexpected: {word!r}")
    return found


def _parent(draft: Draft, words: Words) -> None:
    parents: list[str] = []
    children: list[str] = []
    into = parents
    while word := words.next():
        if word.upper() == "CHILD" and into is parents:
            into = children
        else:
            into += draft.named(word) if word not in draft.nodes else [word]
    if not parents or not children:
        raise Wrong("expected PARENT node ... CHILD node ...")
    if draft.final in parents or draft.final in children:
        raise Wrong(f"the FINAL node {draft.final} can have neither parents nor children")
    draft.edges.append(Edge(tuple(parents), tuple(children)))


def _script(draft: Draft, words: Words) -> None:
    defer: tuple[int, int] | None = None
    debug: tuple[str, str] | None = None
    while True:
        word = words.wanted("PRE, POST or HOLD").upper()
        if word == "DEFER":
            defer = words.number("DEFER's exit code"), words.number("DEFER's seconds", 0)
        elif word == "DEBUG":
            debug = words.wanted("DEBUG's file", trim=True), words.wanted("DEBUG's stream").upper()
            if debug[1] not in _OUTPUTS:
                raise Wrong(f"expected one of {', '.join(_OUTPUTS)}, found {debug[1]!r}")
        elif word in ("PRE", "POST", "HOLD"):
            break
        else:
            raise Wrong(f"expected PRE, POST, HOLD, DEFER or DEBUG, found {word!r}")
    name = words.wanted("the node's name")
    command = tuple(words.rest().split())
    if not command:
        raise Wrong("the script is missing")
    draft.change(name, **{word.lower(): Script(command, defer, debug)})


def _retry(draft: Draft, words: Words) -> None:
    name, times = words.wanted("the node's name"), words.number("the number of retries", 0)
    unless: int | None = None
    if word := words.next():
        if word.upper() != "UNLESS-EXIT":
            raise Wrong(f"expected UNLESS-EXIT, found {word!r}")
        unless = words.number("UNLESS-EXIT's exit code")
    words.end()
    draft.change(name, retries=times, unless_exit=unless)


def _abort_on(draft: Draft, words: Words) -> None:
    name, on = words.wanted("the node's name"), words.number("the exit code")
    returned: int | None = None
    if word := words.next():
        if word.upper() != "RETURN":
            raise Wrong(f"expected RETURN, found {word!r}")
        returned = words.number("RETURN's exit code", 0, 255)
    words.end()
    draft.change(name, abort_on=(on, returned))


def _vars(draft: Draft, words: Words) -> None:
    name = words.wanted("the node's name")
    append = {"PREPEND": False, "APPEND": True}.get(words.peek().upper())
    if append is not None:
        words.next()
    found = []
    for key, value in words.pairs():
        if key.lower().startswith("queue"):
            raise Wrong(f"a variable's name cannot begin with 'queue': {key!r}")
        found.append(Variable(f"My.{key[1:]}" if key.startswith("+") else key, value, append))
    if not found:
        raise Wrong("expected key=value")
    draft.variables(name, found)


def _priority(draft: Draft, words: Words) -> None:
    name, value = words.wanted("the node's name"), words.number("the priority")
    words.end()
    draft.change(name, priority=value)


def _category(draft: Draft, words: Words) -> None:
    name, category = words.wanted("the node's name"), words.wanted("the category")
    words.end()
    draft.change(name, category=category)


def _pre_skip(draft: Draft, words: Words) -> None:
    name, code = words.wanted("the node's name"), words.number("the exit code")
    words.end()
    draft.change(name, pre_skip=code)


def _done(draft: Draft, words: Words) -> None:
    name = words.wanted("the node's name")
    words.end()
    if name == draft.final:
        raise Wrong(f"the FINAL node {name} cannot be done beforehand")
    draft.change(name, done=True)


def _maxjobs(draft: Draft, words: Words) -> None:
    category, most = words.wanted("the category"), words.number("the limit", 1)
    words.end()
    draft.limits[category] = most


def _config(draft: Draft, words: Words) -> None:
    file = words.wanted("the file", trim=True)
    words.end()
    if draft.config not in ("", file):
        raise Wrong(f"CONFIG is {draft.config} already")
    draft.config = file


def _env(draft: Draft, words: Words) -> None:
    action = words.wanted("SET or GET").upper()
    text = words.rest()
    if action == "GET":
        draft.inherited += text.replace(",", " ").split()
    elif action == "SET":
        for one in text.split(";"):
            key, equals, value = one.strip().partition("=")
            if not key or not equals:
                raise Wrong(f"expected NAME=value;NAME=value, found {text!r}")
            draft.environment[key] = value
    else:
        raise Wrong(f"expected SET or GET, found {action!r}")


def _status_file(draft: Draft, words: Words) -> None:
    draft.status_file = words.wanted("the file", trim=True)
    draft.ignored["NODE_STATUS_FILE"] = None


def _ignored(word: str) -> Callable[[Draft, Words], None]:
    def statement(draft: Draft, words: Words) -> None:
        draft.ignored[word] = None

    return statement


def _reject(draft: Draft, words: Words) -> None:
    raise Wrong("REJECT: this DAG is not to be run")


def _unsupported(draft: Draft, words: Words) -> None:
    raise Wrong(f"{words.text.split()[0].upper()} is not supported; SUBDAG EXTERNAL or INCLUDE may do")


STATEMENTS: Mapping[str, Callable[[Draft, Words], None]] = {
    "PARENT": _parent,
    "SCRIPT": _script,
    "RETRY": _retry,
    "ABORT_DAG_ON": _abort_on,
    "VARS": _vars,
    "PRIORITY": _priority,
    "CATEGORY": _category,
    "PRE_SKIP": _pre_skip,
    "DONE": _done,
    "MAXJOBS": _maxjobs,
    "CONFIG": _config,
    "ENV": _env,
    "NODE_STATUS_FILE": _status_file,
    "DOT": _ignored("DOT"),
    "JOBSTATE_LOG": _ignored("JOBSTATE_LOG"),
    "SAVE_POINT_FILE": _ignored("SAVE_POINT_FILE"),
    "SET_JOB_ATTR": _ignored("SET_JOB_ATTR"),
    "REJECT": _reject,
    "SPLICE": _unsupported,
    "CONNECT": _unsupported,
    "PIN_IN": _unsupported,
    "PIN_OUT": _unsupported,
    "PROVISIONER": _unsupported,
    "SERVICE": _unsupported,
    "WEAK": _unsupported,
}
