"""YAML to plain dicts, lists and texts, exactly as written.

Scalars stay text: ``1e3``, ``0o17``, ``1.10`` and ``on`` may be arguments or file names, and what type
they had for whoever wrote them cannot be known. PyYAML's C parser gives events; building the tree from
them takes a tenth of the time of its loader, and leaves lines to be found when there is an error to tell.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pegasus_toolkit.planner.catalogs import Path
from pegasus_toolkit.planner.model import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

Tree = Any  # dict[str, Tree] | list[Tree] | str | None

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_DEEPEST = 64
_MOST_ALIASES = 100_000


class Broken(Exception):
    """No YAML, or YAML that is not taken; ``line`` counts from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.message, self.line = message, line


class Document(NamedTuple):
    """One file: its name for people, its text and what it says."""

    file: str
    text: str
    tree: Tree


def parse(file: str, text: str) -> Document:
    """Raises :class:`Broken` for what is no YAML, holds two documents, or a key twice."""
    return Document(file, text, _build(text))


def located(problems: list[Problem], text: str) -> list[Problem]:
    """The problems of one file, each with its line: of its key, or of what should hold that key."""
    lines: dict[Path, int] = {(): 1}
    paths: dict[int, Path] = {}
    wanted = {p.path[:n] for p in problems for n in range(len(p.path) + 1)}

    def note(container: Tree, step: str | int, value: Tree, line: int) -> None:
        path = (*paths[id(container)], step) if id(container) in paths else ()
        if isinstance(value, dict | list):
            paths[id(value)] = path
        if path in wanted:
            lines.setdefault(path, line)

    _build(text, note)
    return [p if p.line else p._replace(line=_line(lines, p.path)) for p in problems]


def _line(lines: dict[Path, int], path: Path) -> int:
    while path not in lines:
        path = path[:-1]
    return lines[path]


Note = Callable[[Tree, str | int, Tree, int], None]
"""Is told of each value, in order: what holds it, its key or place there, the value, the line."""


def _build(text: str, note: Note | None = None) -> Tree:
    """What the text says; ``note``: is told of each value before it is filled."""
    yaml = _yaml()
    # Without libyaml the Python parser gives the same events, thirty times as slowly.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    get, scalar, end = loader.get_event, yaml.events.ScalarEvent, yaml.events.StreamEndEvent
    making = _Making(yaml.events, note)
    put = making.put
    holder: Tree = making.top
    key: Any = None  # the event of a key whose value comes next
    with _closing(yaml, loader):
        while (kind := (event := get()).__class__) is not end:  # a third of all planning: no calls in vain
            if kind is not scalar:
                holder, key = making.other(event, kind, key), None
            elif key is None and holder.__class__ is dict:
                key = event
                if key.value in holder:
                    raise Broken(f"the key {key.value!r} is there twice", _line_of(key))
            else:
                value = event.value
                if event.anchor or value in _NULLS:
                    value = making.of(event, kind)
                put(holder, key, value, event)
                key = None
    return making.top[0] if making.top else None


def _line_of(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _yaml() -> Any:
    try:
        import yaml
    except ImportError:
        raise Broken("cannot be read without PyYAML: pip install 'pegasus-toolkit[plan]'", 0) from None
    return yaml


@contextmanager
def _closing(yaml: Any, loader: Any) -> Iterator[None]:
    """Frees what libyaml holds; what it does not understand is raised as :class:`Broken`."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Broken(f"not YAML: {error.problem or error.context}", mark.line + 1 if mark else 0) from None
    except yaml.YAMLError as error:
        raise Broken(f"not YAML: {str(error).splitlines()[0]}", 0) from None
    finally:
        loader.dispose()


class _Making:
    """A tree in the making, held by ``top``. What ``*name`` stands for is shared: nothing grows huge."""

    def __init__(self, kinds: Any, note: Note | None) -> None:
        self.top: list[Tree] = []
        self._kinds = kinds
        self._between = (kinds.StreamStartEvent, kinds.DocumentStartEvent, kinds.DocumentEndEvent)
        self._ends = (kinds.MappingEndEvent, kinds.SequenceEndEvent)
        self._note = note
        self._open: list[Tree] = [self.top]
        self._documents = 0
        self._known: dict[str, Tree] = {}
        self._used = 0

    def other(self, event: Any, kind: type, key: Any) -> Tree:
        """After anything but a scalar: the dict or list that takes what comes next."""
        if kind in self._ends:
            self._open.pop()
        elif kind in self._between:
            self._documents += kind is self._kinds.DocumentStartEvent
            if self._documents > 1:
                raise Broken("expected one document, found a second", _line_of(event))
        else:
            self._enter(event, kind, key)
        return self._open[-1]

    def _enter(self, event: Any, kind: type, key: Any) -> None:
        holder = self._open[-1]
        if key is None and holder.__class__ is dict:
            raise Broken("expected a plain text as key", _line_of(event))
        value = self.of(event, kind)
        self.put(holder, key, value, event)
        if kind is not self._kinds.AliasEvent:
            if len(self._open) > _DEEPEST:
                raise Broken(f"nested more than {_DEEPEST} deep", _line_of(key or event))
            self._open.append(value)

    def put(self, holder: Tree, key: Any, value: Tree, event: Any) -> None:
        """Notes the value, and gives it to what holds it."""
        if self._note is not None:
            self._note(holder, len(holder) if key is None else key.value, value, _line_of(key or event))
        if key is None:
            holder.append(value)
        else:
            holder[key.value] = value

    def of(self, event: Any, kind: type) -> Tree:
        """Text or nothing, an empty dict or list, or what an alias stands for."""
        value: Tree
        if kind is self._kinds.ScalarEvent:
            value = None if event.implicit[0] and event.value in _NULLS else event.value
        elif kind is self._kinds.AliasEvent:
            self._used += 1
            if event.anchor not in self._known or self._used > _MOST_ALIASES:
                raise Broken(f"no use can be made of the alias *{event.anchor}", _line_of(event))
            return self._known[event.anchor]
        else:
            value = {} if kind is self._kinds.MappingStartEvent else []
        if event.anchor:
            self._known[event.anchor] = value
        return value
