"""YAML to plain dicts, lists and texts, exactly as written.

Scalars stay text: ``1e3``, ``0o17``, ``1.10`` and ``on`` may be arguments or file names, and what type
they had for whoever wrote them cannot be known. PyYAML's C parser gives events; building the tree from
them takes a tenth of the time of its loader, and leaves lines to be found when there is an error to tell.
"""

from __future__ import annotations

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
    root: list[Tree] = []
    for container, key, value, _ in _walk(text):
        if container is None:
            root.append(value)
        elif isinstance(container, list):
            container.append(value)
        else:
            container[key] = value
    return Document(file, text, root[0] if root else None)


def located(problems: list[Problem], text: str) -> list[Problem]:
    """The problems of one file, each with its line: of its key, or of what should hold that key."""
    lines: dict[Path, int] = {(): 1}
    paths: dict[int, Path] = {}
    wanted = {p.path[:n] for p in problems for n in range(len(p.path) + 1)}
    keep = []  # containers, so that no id is used twice
    for container, key, value, line in _walk(text):
        if container is None:
            path: Path = ()
        else:
            step = len(container) if isinstance(container, list) else key
            path = (*paths[id(container)], step)
            if isinstance(container, list):
                container.append(None)
            else:
                container[key] = None
        if isinstance(value, dict | list):
            paths[id(value)] = path
            keep.append(value)
        if path in wanted:
            lines.setdefault(path, line)
    return [p if p.line else p._replace(line=_line(lines, p.path)) for p in problems]


def _line(lines: dict[Path, int], path: Path) -> int:
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _walk(text: str) -> Iterator[tuple[Tree, str, Tree, int]]:
    """For each value, in order: what holds it (``None``: nothing), under which key, the value, the line.

    Containers are empty when they are given; whoever takes them fills them.
    """
    yaml = _yaml()
    # Without libyaml the Python parser gives the same events, thirty times as slowly.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    get, kinds = loader.get_event, yaml.events
    scalar, starts, end = kinds.ScalarEvent, kinds.MappingStartEvent, kinds.StreamEndEvent
    ends = (kinds.MappingEndEvent, kinds.SequenceEndEvent)
    values = _Values(kinds)
    stack: list[tuple[Tree, bool, set[str]]] = []
    current: Tree = None
    mapping, key, line, seen = False, None, 0, set[str]()
    with _closing(yaml, loader):
        while (kind := (event := get()).__class__) is not end:  # a third of all planning: no calls in vain
            if kind is scalar and mapping and key is None:
                key, line = event.value, event.start_mark.line + 1
                if key in seen:
                    raise Broken(f"the key {key!r} is there twice", line)
                seen.add(key)
                continue
            if kind in ends:
                current, mapping, seen = stack.pop()
                continue
            if kind is not scalar and values.between(event, kind):
                continue
            if not mapping:
                line = event.start_mark.line + 1
            elif key is None:
                raise Broken("expected a plain text as key", event.start_mark.line + 1)
            value = values.of(event, kind)
            yield current, key or "", value, line
            key = None
            if kind is not scalar and kind is not kinds.AliasEvent:
                if len(stack) >= _DEEPEST:
                    raise Broken(f"nested more than {_DEEPEST} deep", line)
                stack.append((current, mapping, seen))
                current, mapping, seen = value, kind is starts, set()


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


class _Values:
    """What events stand for. ``*name`` is what ``&name`` marked, shared, so that nothing grows huge."""

    def __init__(self, kinds: Any) -> None:
        self._kinds = kinds
        self._between = (kinds.StreamStartEvent, kinds.DocumentStartEvent, kinds.DocumentEndEvent)
        self._documents = 0
        self._known: dict[str, Tree] = {}
        self._used = 0

    def between(self, event: Any, kind: type) -> bool:
        """Whether the event only begins or ends a document, of which there may be one."""
        if kind not in self._between:
            return False
        self._documents += kind is self._kinds.DocumentStartEvent
        if self._documents > 1:
            raise Broken("expected one document, found a second", event.start_mark.line + 1)
        return True

    def of(self, event: Any, kind: type) -> Tree:
        """Text or nothing, an empty dict or list, or what an alias stands for."""
        value: Tree
        if kind is self._kinds.ScalarEvent:
            value = None if event.implicit[0] and event.value in _NULLS else event.value
        elif kind is self._kinds.AliasEvent:
            self._used += 1
            if event.anchor not in self._known or self._used > _MOST_ALIASES:
                raise Broken(f"no use can be made of the alias *{event.anchor}", event.start_mark.line + 1)
            return self._known[event.anchor]
        else:
            value = {} if kind is self._kinds.MappingStartEvent else []
        if event.anchor:
            self._known[event.anchor] = value
        return value
