"""Finds the files of a workflow, reads them all, and says all that is wrong with any of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as File
from typing import Any, NamedTuple, TypeVar

from pegasus_toolkit.planner.catalogs import LOCAL, Catalogs, Pfn, Replica, ReplicaCatalog
from pegasus_toolkit.planner.model import Problem, Workflow
from pegasus_toolkit.planner.reading import document, replicas, sites, transformations, workflow
from pegasus_toolkit.planner.reading.reader import Reader, local_url

T = TypeVar("T")

_INLINE = {"site": "siteCatalog", "replica": "replicaCatalog", "transformation": "transformationCatalog"}
DEFAULTS = {
    "site": ("sites.yml", "sites.yaml"),
    "replica": ("replicas.yml", "replicas.yaml"),
    "transformation": ("transformations.yml", "transformations.yaml"),
}


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
    inputs: Sequence[str] = (),
) -> Loaded:
    """Reads the workflow ``file`` and its catalogs; raises nothing for what is wrong in them.

    A catalog is the file that ``pegasus.catalog.KIND.file`` names, else ``sites.yml``, ``replicas.yml``,
    ``transformations.yml`` in ``directory``; what stands inline in the workflow goes before it.
    ``inputs``: directories whose files are replicas at the site local.
    """
    return _Loading(properties, environ, directory).all(file, inputs)


class _Loading:
    def __init__(self, properties: Mapping[str, str], environ: Mapping[str, str], directory: str) -> None:
        self.properties, self.environ, self.directory = properties, environ, directory
        self.problems: list[Problem] = []
        self.broken: set[str] = set()
        self.warnings: list[str] = []
        self.texts: dict[str, str] = {}

    def all(self, file: str, inputs: Sequence[str]) -> Loaded:
        main = self._document("workflow", file) or document.Document(file, "", {})
        flow = self._read("workflow", main, workflow.read)
        places = self._both("site", main, sites.read)
        known = {name: site for found in reversed(places) for name, site in found.items()}
        replica = _joined([*self._both("replica", main, replicas.read), self._directories(inputs)])
        programs = self._both("transformation", main, transformations.read)
        complete, problems = sites.with_profiles(sites.with_defaults(known, self.directory), self.properties)
        self.problems += problems
        catalogs = Catalogs(
            sites=complete,
            replicas=replica,
            transformations={key: one for found, _ in reversed(programs) for key, one in found.items()},
            containers={key: one for _, found in reversed(programs) for key, one in found.items()},
        )
        return Loaded(
            flow, catalogs, tuple(self.problems), frozenset(self.broken), tuple(self.warnings), self.texts
        )

    def _both(self, kind: str, main: document.Document, read: Callable[..., T]) -> list[T]:
        """What stands inline, then what the catalog's own file says."""
        found = []
        key = _INLINE[kind]
        if isinstance(main.tree, dict) and main.tree.get(key) is not None:
            inline = main._replace(tree=main.tree[key])
            found.append(self._read(kind, inline, lambda reader, tree: read(reader, tree, (key,))))
        own = self._catalog(kind)
        if own is not None:
            found.append(self._read(kind, own, read))
        return found

    def _catalog(self, kind: str) -> document.Document | None:
        type = self.properties.get(f"pegasus.catalog.{kind}", "YAML")
        if type.upper() != "YAML":
            expected = f"expected YAML, found {type!r}: catalogs of other kinds are not supported"
            self.problems.append(Problem("properties", (f"pegasus.catalog.{kind}",), expected))
            self.broken.add(kind)
            return None
        named = self.properties.get(f"pegasus.catalog.{kind}.file")
        if named:
            return self._document(kind, named)
        for name in DEFAULTS[kind]:
            if os.path.lexists(os.path.join(self.directory, name)):  # noqa: PTH118
                return self._document(kind, name)
        return None

    def _document(self, kind: str, file: str) -> document.Document | None:
        """The file's content; ``None``, and a problem, where that cannot be had."""
        try:
            text = File(self.directory, file).read_bytes().decode()
            parsed = document.parse(file, text)
            self.texts[file] = text
            return parsed
        except OSError as error:
            problem = Problem(file, (), f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            problem = Problem(file, (), f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}")
        except document.Broken as error:
            problem = Problem(file, (), error.message, error.line)
        self.problems.append(problem)
        self.broken.add(kind)
        return None

    def _read(self, kind: str, found: document.Document, read: Callable[[Reader, Any], T]) -> T:
        reader = Reader(found.file, self.environ, self.directory)
        silent = kind == "workflow" and kind in self.broken  # told already that it cannot be read
        result = read(reader, found.tree)
        self.warnings += reader.warnings
        for path, message in reader.deferred:
            reader.wrong(path, message)
        if reader.problems and not silent:
            self.problems += reader.problems
            self.broken.add(kind)
        return result

    def _directories(self, inputs: Sequence[str]) -> ReplicaCatalog:
        entries: dict[str, Replica] = {}
        for given in inputs:
            top = os.path.join(self.directory, given)  # noqa: PTH118
            if not File(top).is_dir():
                self.problems.append(Problem("--input-dir", (), f"no such directory: {given}"))
                self.broken.add("replica")
            for at, _, names in sorted(os.walk(top)):
                for name in sorted(names):
                    path = os.path.join(at, name)  # noqa: PTH118
                    lfn = os.path.relpath(path, top)
                    pfn = Pfn(LOCAL, local_url(path, self.directory))
                    entries.setdefault(lfn, Replica(lfn=lfn, pfns=(pfn,), file="--input-dir"))
        return ReplicaCatalog(entries=entries)


def _joined(found: Sequence[ReplicaCatalog]) -> ReplicaCatalog:
    """The first one's replicas before the next one's; checksum and size of the first that has them."""
    entries: dict[str, Replica] = {}
    for catalog in found:
        if not entries:
            entries = dict(catalog.entries)
            continue
        for lfn, replica in catalog.entries.items():
            first = entries.get(lfn)
            if first is None:
                entries[lfn] = replica
                continue
            entries[lfn] = Replica(
                lfn=lfn,
                pfns=tuple(dict.fromkeys((*first.pfns, *replica.pfns))),
                checksum=first.checksum or replica.checksum,
                size=replica.size if first.size is None else first.size,
                file=first.file,
                at=first.at,
            )
    return ReplicaCatalog(entries=entries, patterns=tuple(p for one in found for p in one.patterns))
