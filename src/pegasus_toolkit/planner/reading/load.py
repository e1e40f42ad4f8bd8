"""Finds the files of a workflow, reads them all, and says all that is wrong with any of them."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, NamedTuple, TypeVar, cast

from pegasus_toolkit.planner.catalogs import LOCAL, Catalogs, ReplicaCatalog, Transformation
from pegasus_toolkit.planner.model import Problem, Workflow
from pegasus_toolkit.planner.reading import document, others, replicas, sites, transformations, workflow
from pegasus_toolkit.planner.reading.reader import UNKNOWN_KEY, Reader

T = TypeVar("T")

_OTHERS = ("file", "simplefile", "regex", "directory", "jdbcrc")
_INLINE = {"site": "siteCatalog", "replica": "replicaCatalog", "transformation": "transformationCatalog"}
DEFAULTS = {
    "site": ("sites.yml", "sites.yaml"),
    "replica": ("replicas.yml", "replicas.yaml"),
    "transformation": ("transformations.yml", "transformations.yaml"),
}


class Given(NamedTuple):
    """What the command line adds to the catalogs. ``inputs``: directories whose files are replicas.

    ``caches``: replica catalogs that replace what others say of a file; ``inherited``: replica catalogs
    below all others. ``programs``: directories whose files are stageable programs. ``planning``: paths of
    files by the names that stand for them; ``workflows``: files that hold catalogs, weaker than all else.
    """

    inputs: Sequence[str] = ()
    caches: Sequence[str] = ()
    inherited: Sequence[str] = ()
    programs: Sequence[str] = ()
    planning: Mapping[str, str] = {}
    workflows: Sequence[str] = ()


class Loaded(NamedTuple):
    """What was read. ``broken``: the kinds of file (``workflow``, ``site``, ``replica``,
    ``transformation``) that something is wrong with, so that nothing can be concluded from them.
    ``texts``: of the files, to find the lines of problems in.
    """

    workflow: Workflow
    catalogs: Catalogs
    problems: tuple[Problem, ...]
    broken: frozenset[str]
    warnings: tuple[str, ...]
    texts: Mapping[str, str] = {}


def load(
    file: str,
    properties: Mapping[str, str],
    environ: Mapping[str, str],
    directory: str,
    given: Given | None = None,
) -> Loaded:
    """Reads the workflow ``file`` and its catalogs; raises nothing for what is wrong in them.

    A catalog is the file that ``pegasus.catalog.KIND.file`` names, else ``sites.yml``, ``replicas.yml``,
    ``transformations.yml`` in ``directory``; what stands inline in the workflow goes before it.
    """
    return _Loading(properties, environ, directory, given or Given()).all(file)


class _Loading:
    def __init__(
        self, properties: Mapping[str, str], environ: Mapping[str, str], directory: str, given: Given
    ) -> None:
        self.properties, self.environ, self.directory, self.given = properties, environ, directory, given
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.warnings: list[str] = []
        self.texts: dict[str, str] = {}

    def all(self, file: str) -> Loaded:
        main = self._document("workflow", file) or document.Document(file, "", {})
        above = [self._document("workflow", one) for one in self.given.workflows]
        self.above = [one for one in above if one is not None]
        flow = self._read("workflow", main, workflow.read)
        places = self._both("site", main, sites.read)
        known = {name: site for found in reversed(places) for name, site in found.items()}
        central = self.properties.get("pegasus.catalog.site.repo.file", "")
        if central and os.path.lexists(self._path(central)) and (found := self._document("site", central)):
            known = sites.above(self._read("site", found, sites.read), known)
        replica = self._replicas(main)
        programs = self._both("transformation", main, transformations.read)
        programs += [(found, {}) for found in map(self._programs, self.given.programs)]
        complete, problems = sites.with_profiles(sites.with_defaults(known, self.directory), self.properties)
        self.problems += problems
        catalogs = Catalogs(
            sites=complete,
            replicas=replica,
            transformations={key: one for found, _ in reversed(programs) for key, one in found.items()},
            containers={key: one for _, found in reversed(programs) for key, one in found.items()},
            outputs=self._outputs(),
        )
        return Loaded(
            flow, catalogs, tuple(self.problems), frozenset(self.broken), tuple(self.warnings), self.texts
        )

    def _both(self, kind: str, main: document.Document, read: Callable[..., T]) -> list[T]:
        """What stands inline, what the catalog's own file says, what stands inline in workflows above."""
        own: list[T] = []
        if kind == "replica" and self._type(kind) in _OTHERS:
            own = [cast(T, self._other(self._type(kind)))]
        elif (found := self._catalog(kind)) is not None:
            own = [self._read(kind, found, read)]
        return [*self._inline(kind, main, read), *own] + [
            one for above in self.above for one in self._inline(kind, above, read)
        ]

    def _inline(self, kind: str, main: document.Document, read: Callable[..., T]) -> list[T]:
        key = _INLINE[kind]
        if not isinstance(main.tree, dict) or main.tree.get(key) is None:
            return []
        inline = main._replace(tree=main.tree[key])
        return [self._read(kind, inline, lambda reader, tree: read(reader, tree, (key,)))]

    def _replicas(self, main: document.Document) -> ReplicaCatalog:
        """Of all catalogs, those of the command line included."""
        given, asked = self.given, self.properties.get("pegasus.catalog.replica.cache.asrc", "")
        found = self._both("replica", main, replicas.read)
        below = [self._replica_file(one, "--inherited-rc-files ") for one in given.inherited]
        caches = [self._replica_file(one, "--cache ") for one in given.caches]
        merged = asked.lower() == "true"
        inputs = [self._directory(one, "--input-dir") for one in given.inputs]
        joined = _joined([*found, *inputs, *(caches if merged else ()), *below])
        for cache in () if merged else caches[::-1]:
            joined = ReplicaCatalog(
                entries={**joined.entries, **cache.entries}, patterns=(*cache.patterns, *joined.patterns)
            )
        return joined

    def _outputs(self) -> ReplicaCatalog | None:
        """Where the Replica mapper is to put outputs; ``None``, and a problem, where that cannot be read."""
        start = "pegasus.dir.storage.mapper"
        named = self.properties.get(f"{start}.replica.file")
        if self.properties.get(start) != "Replica" or not named:
            return ReplicaCatalog()
        before = len(self.problems)
        found = self._replica_file(named, f"--output-map ({start}.replica.file) ")
        return found if len(self.problems) == before else None

    def _other(self, type: str) -> ReplicaCatalog:
        """A replica catalog that is no YAML file."""
        start = "pegasus.catalog.replica"
        if type == "directory":
            named = self.properties.get(f"{start}.directory", "")
            return self._directory(named or "nothing", f"{start}.directory")
        if type != "jdbcrc":
            named = self.properties.get(f"{start}.file") or "rc.txt"
            return self._replica_file(named, "")
        url = self.properties.get(f"{start}.db.url", "")
        driver = self.properties.get(f"{start}.db.driver", "sqlite")
        path = url.removeprefix("jdbc:sqlite:").removeprefix("//")
        if driver.lower() != "sqlite" or not path or path == url.removeprefix("//"):
            message = f"expected jdbc:sqlite:/PATH, found {url!r} ({driver}): no other database is asked"
            self._tell("replica", Problem("properties", (f"{start}.db.url",), message))
            return ReplicaCatalog()
        try:
            reader = Reader(path, self.environ, self.directory)
            found = others.database(reader, File(self._path(path)))
        except (sqlite3.Error, ValueError) as error:
            self._tell("replica", Problem(path, (), f"is no replica catalog of Pegasus in SQLite: {error}"))
            return ReplicaCatalog()
        self.problems += reader.problems
        return found

    def _replica_file(self, file: str, option: str) -> ReplicaCatalog:
        """In YAML or in the older form of a line a replica; ``option``: that names it."""
        text = self._text("replica", file, option)
        if text is None:
            return ReplicaCatalog()
        if not others.is_yaml(text):
            return self._read("replica", document.Document(file, text, text), others.lines)
        found = self._parsed("replica", file, text)
        return ReplicaCatalog() if found is None else self._read("replica", found, replicas.read)

    def _programs(self, directory: str) -> dict[str, Transformation]:
        """Each file in it is a stageable program of its name."""
        top = File(self.directory, directory)
        try:
            files = sorted(one for one in top.iterdir() if one.is_file())
        except (OSError, ValueError) as error:
            message = f"{directory}: {getattr(error, 'strerror', error)}"
            self.problems.append(Problem("--transformations-dir", (), message))
            return {}
        place = {"name": LOCAL, "type": "stageable"}
        items = [{"name": one.name, "sites": [{**place, "pfn": f"file://{one}"}]} for one in files]
        reader = Reader("--transformations-dir", {}, self.directory)
        return transformations.read(reader, {"transformations": items})[0]

    def _catalog(self, kind: str) -> document.Document | None:
        type = self._type(kind)
        if type != "yaml":
            more = f", or one of {', '.join(_OTHERS)}" if kind == "replica" else ""
            expected = f"expected YAML{more}, found {type!r}: catalogs of other kinds are not supported"
            self.problems.append(Problem("properties", (f"pegasus.catalog.{kind}",), expected))
            self.broken.add(kind)
            return None
        named = self.properties.get(f"pegasus.catalog.{kind}.file")
        if named:
            return self._document(kind, named)
        for name in DEFAULTS[kind]:
            if os.path.lexists(self._path(name)):
                return self._document(kind, name)
        return None

    def _type(self, kind: str) -> str:
        return self.properties.get(f"pegasus.catalog.{kind}", "YAML").lower()

    def _path(self, file: str) -> str:
        return os.path.join(self.directory, self.given.planning.get(file, file))  # noqa: PTH118

    def _document(self, kind: str, file: str) -> document.Document | None:
        """The file's content; ``None``, and a problem, where that cannot be had."""
        text = self._text(kind, file)
        return None if text is None else self._parsed(kind, file, text)

    def _text(self, kind: str, file: str, option: str = "") -> str | None:
        try:
            return File(self._path(file)).read_bytes().decode()
        except (OSError, ValueError) as error:
            message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
            if isinstance(error, UnicodeDecodeError):
                message = f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
        self._tell(kind, Problem(option + file, (), message))
        return None

    def _parsed(self, kind: str, file: str, text: str) -> document.Document | None:
        try:
            parsed = document.parse(file, text)
        except document.Broken as error:
            self._tell(kind, Problem(file, (), error.message, error.line))
            return None
        self.texts[file] = text
        return parsed

    def _tell(self, kind: str, problem: Problem) -> None:
        self.problems.append(problem)
        self.broken.add(kind)

    def _read(self, kind: str, found: document.Document, read: Callable[[Reader, Any], T]) -> T:
        reader = Reader(found.file, self.environ, self.directory)
        silent = kind == "workflow" and kind in self.broken  # told already that it cannot be read
        result = read(reader, found.tree)
        self.warnings += reader.warnings
        for path, message in reader.deferred:
            reader.wrong(path, message)
        if reader.problems and not silent:
            self.problems += reader.problems
            if not all(one.message == UNKNOWN_KEY and len(one.path) > 1 for one in reader.problems):
                self.broken.add(kind)  # what follows from it would only repeat it
        return result

    def _directory(self, named: str, option: str) -> ReplicaCatalog:
        """The files in it are replicas."""
        start = "pegasus.catalog.replica.directory"
        site = self.properties.get(f"{start}.site", LOCAL)
        prefix = self.properties.get(f"{start}.url.prefix", "file://")
        flat = self.properties.get(f"{start}.flat.lfn", "").lower() == "true"
        try:
            top = File(os.path.normpath(self._path(named)))
            reader = Reader(option, {}, self.directory)
            found = others.directory(reader, top, site, prefix, flat)
        except (OSError, ValueError):
            self._tell("replica", Problem(option, (), f"no such directory: {named}"))
            return ReplicaCatalog()
        self.problems += reader.problems
        return found


def _joined(found: Sequence[ReplicaCatalog]) -> ReplicaCatalog:
    """The first one's replicas before the next one's."""
    entries = dict(found[0].entries) if found else {}
    for lfn, replica in (pair for catalog in found[1:] for pair in catalog.entries.items()):
        entries[lfn] = entries[lfn].joined(replica) if lfn in entries else replica
    return ReplicaCatalog(entries=entries, patterns=tuple(p for one in found for p in one.patterns))
