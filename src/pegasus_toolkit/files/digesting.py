"""Digests of files that stand somewhere: from the cache, the server's own, or by reading them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from pegasus_toolkit.files import listing
from pegasus_toolkit.files.cache import Cache, Row
from pegasus_toolkit.files.listing import Item, Tree
from pegasus_toolkit.files.places import inside, lent
from pegasus_toolkit.integrity import digests
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Control, Inspects, Job, Requirement, Sink
from pegasus_toolkit.transfer.streams.checked import NullSink

TOLD = ("sha256", "md5", "adler32")  # what servers are asked for, the best first
AT_REST = 2_000_000_000  # nanoseconds since its last change: what changes after that has another time
THREADS = min(4, os.cpu_count() or 1)


class Digest(NamedTuple):
    """``value`` in lower-case hex; ``by``: who says so: "server", "read", "cache"."""

    algorithm: str
    value: str
    by: str


Found = dict[str, Digest | TransferError]
"""By name below a directory; an error where a file could not be read."""


class Digester:
    """Takes digests in the cheapest way. ``reads``: files that were read at a server for that."""

    def __init__(self, pool: Pool, cache: Cache | None) -> None:
        self.pool = pool
        self.cache = cache
        self.reads = 0

    def told(self, tree: Tree, names: Sequence[str], algorithms: Sequence[str] = TOLD) -> Found:
        """What the server says by itself, in the first of ``algorithms`` that it knows."""
        if tree.root.scheme in LOCAL or not names:
            return {}
        return {
            name: Digest(*entry.digest, "server")
            for name, entry in listing.asked(tree, self.pool, names, algorithms).items()
            if entry.digest is not None and entry.digest[0] in algorithms
        }

    def of(self, tree: Tree, names: Sequence[str], algorithm: str) -> Found:
        """Digests in that very algorithm."""
        if tree.root.scheme in LOCAL:
            return self._here(tree, names, algorithm)
        found = self.told(tree, names, (algorithm,))
        rest = [name for name in names if name not in found]
        return found | self._read(tree, rest, algorithm)

    def pairs(self, one: Tree, other: Tree, names: Sequence[str]) -> tuple[Found, Found]:
        """Digests of both sides that can be compared."""
        if one.root.scheme in LOCAL and other.root.scheme in LOCAL:
            return self._here(one, names, "sha256"), self._here(other, names, "sha256")
        here, there = self.told(one, names), self.told(other, names)
        wanted: dict[str, str] = {}
        for name in names:
            told = here.get(name) or there.get(name)
            wanted[name] = told.algorithm if isinstance(told, Digest) else "sha256"
        for tree, found in ((one, here), (other, there)):
            for algorithm in sorted(set(wanted.values())):
                missing = [
                    name
                    for name in names
                    if wanted[name] == algorithm
                    and not (isinstance(known := found.get(name), Digest) and known.algorithm == algorithm)
                ]
                found.update(self.of(tree, missing, algorithm))
        return here, there

    def _here(self, tree: Tree, names: Sequence[str], algorithm: str) -> Found:
        root = os.path.realpath(tree.root.path).rstrip("/") + "/"
        known = self.cache.known(root, algorithm) if self.cache is not None else {}
        stem = os.fsencode(root)
        found: Found = {}
        missing: list[Item] = []
        for name in names:
            item = tree.items[name]
            row = known.get(stem + name.encode("utf-8", "surrogateescape")) if known else None
            if row is not None and row[1:5] == (item.inode, item.size, item.modified, item.changed):
                found[name] = Digest(algorithm, row[5], "cache")
            else:
                missing.append(item)
        if missing:
            found.update(self._hash(root, missing, algorithm))
        return found

    def _hash(self, root: str, items: Sequence[Item], algorithm: str) -> Found:
        now = time.time_ns()

        def one(item: Item) -> Digest | TransferError:
            try:
                path = (
                    root + item.name if item.name else root[:-1]
                )  # one file, which has no name below itself
                return Digest(algorithm, digests.of_file(path, algorithm).digest, "read")
            except OSError as error:
                return from_oserror(error, url=root + item.name, side="source")

        with ThreadPoolExecutor(THREADS) as threads:
            found = dict(zip((item.name for item in items), threads.map(one, items), strict=True))
        if self.cache is not None:
            rows: list[Row] = []
            for item in items:
                digest = found[item.name]
                if isinstance(digest, Digest) and item.changed < now - AT_REST:
                    told = (item.inode, item.size or 0, item.modified or 0, item.changed, digest.value)
                    rows.append((root + item.name, *told))
            self.cache.add(algorithm, rows)
        return dict(found)

    def _read(self, tree: Tree, names: Sequence[str], algorithm: str) -> Found:
        """The server tells none: the files are read."""
        paths = {tree.items[name].path or inside(tree.root, name).path: name for name in names}
        if not paths:
            return {}
        found: Found = {}
        self.reads += len(paths)
        with lent(self.pool, tree.root, self.pool.settings.connections) as backend:
            if isinstance(backend, Inspects) and not hasattr(backend, "inspect_many"):
                for path in list(paths):
                    told = backend.inspect(path, algorithm).digest
                    if told is not None and told[0] == algorithm:
                        found[paths.pop(path)] = Digest(algorithm, told[1], "server")
                        self.reads -= 1
            required = Requirement(algorithm)
            jobs = (
                Job[Sink](path, "", required, NullSink(inside(tree.root, name).url, required, Control()))
                for path, name in list(paths.items())
            )
            for job in backend.get(jobs):
                name = paths[job.path]
                try:
                    if job.error is not None:
                        raise job.error
                    found[name] = Digest(algorithm, job.end.commit(), "read")
                except TransferError as error:
                    found[name] = error
        return found


def differ(one: Digest | TransferError | None, other: Digest | TransferError | None) -> bool:
    """Whether they are not proven to be the same."""
    return not isinstance(one, Digest) or not isinstance(other, Digest) or one[:2] != other[:2]
