"""Before anything moves: whether each source is there, how large it is, and whether all of it will fit."""

# pathlib would cost start-up time
# ruff: noqa: PTH116, PTH120

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pegasus_toolkit.schemes import LOCAL, SCHEMES
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.telling import mask, tellable
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    NoSpace,
    NotFound,
    TransferError,
    Transient,
    Unsupported,
    translate,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Entry, ReportsFreeSpace
from pegasus_toolkit.transfer.model import Location, Operation, Transfer

AT_ONCE = 16  # threads, each with connections of its own
PORTION = 50  # operations that a thread looks at before it takes others


class Surveyed(NamedTuple):
    """One operation. ``size``: bytes to be moved, ``None`` where nobody can tell; ``error``: why it cannot be
    done, for the source that a later attempt is most likely to mend."""

    operation: Operation
    size: int | None = None
    error: TransferError | None = None


class Survey:
    """Looks at operations by the ``pool``'s backends, and adds up what they would write."""

    def __init__(
        self,
        operations: Sequence[Operation],
        pool: Pool,
        failed: Mapping[Endpoint, TransferError] | None = None,
    ) -> None:
        """``failed``: endpoints that are known not to answer or to refuse; they are not asked."""
        self.bytes = 0
        self.unsized = 0  # transfers whose size nobody can tell
        self._operations, self._pool = operations, pool
        self._failed = dict(failed or {})
        self._made: set[str] | None = None
        self._lock = threading.Lock()
        self._uses: dict[Hashable, tuple[Location, int]] = {}

    def look(self, known: Callable[[Operation], bool]) -> Iterator[Surveyed]:
        """Each operation in its order; what is ``known`` is not looked at, and has the size that it says."""

        def some(begin: int) -> list[Surveyed]:
            chosen = self._operations[begin : begin + PORTION]
            return [_told(one) if known(one) else self._one(one) for one in chosen]

        with ThreadPoolExecutor(AT_ONCE) as threads:
            for found in threads.map(some, range(0, len(self._operations), PORTION)):
                for one in found:
                    self._count(one)
                    yield one

    def room(self) -> Iterator[TransferError]:
        """``NoSpace`` for each file system that it does not fit on, as far as servers tell their room."""
        for place, size in self._uses.values():
            if place.endpoint in self._failed:  # which is told already
                continue
            try:
                with self._lent(place) as backend:
                    free = backend.free(place.path) if isinstance(backend, ReportsFreeSpace) else None
            except TransferError as error:
                error.side = error.side or "destination"
                mask(error, self._pool.settings.credentials)
                yield error
                continue
            if free is not None and free < size:
                text = f"{size} bytes to be written, {free} free"
                yield NoSpace(text, url=place.url, host=place.endpoint.host, side="destination")

    def _one(self, operation: Operation) -> Surveyed:
        if not isinstance(operation, Transfer):
            return Surveyed(operation)
        worst: TransferError | None = None
        for source in operation.sources:
            try:
                entry = self._stat(source)
                if entry is None:  # only the transfer itself will tell
                    return Surveyed(operation, operation.size)
                if entry.directory or operation.destinations[0].scheme in LOCAL:
                    self._fits(entry, operation.destinations[0])
                return Surveyed(operation, self._size(source, entry))
            except TransferError as error:
                error.side = error.side or "source"
                if worst is None or error.exit_code < worst.exit_code:
                    worst = error
        if isinstance(worst, NotFound) and any(one.url in self._destinations() for one in operation.sources):
            worst = None  # another operation makes it
        return Surveyed(
            operation, None, worst and tellable(worst, operation, self._pool.settings.credentials)
        )

    def _stat(self, place: Location) -> Entry | None:
        """``None`` where nothing can be looked at. Raises ``TransferError``."""
        failed = self._failed.get(place.endpoint)
        if failed is not None:
            raise failed
        known = SCHEMES.get(place.scheme)
        web = known is not None and known.web  # where the slash tells a directory's page
        try:
            with self._lent(place) as backend:
                with suppress(Unsupported):
                    return backend.stat(place.path if web else place.path.rstrip("/") or "/")
                return None
        except Transient as error:
            self._failed[place.endpoint] = error  # it is not asked a second time
            raise

    def _size(self, source: Location, entry: Entry) -> int | None:
        if not entry.directory:
            return entry.size
        sizes: list[int | None] = []
        with self._lent(source) as backend:
            top = "".join(urls.folder(source))
            sizes = [one.size for one in backend.list(top) if not one.directory]
        return None if None in sizes else sum(size or 0 for size in sizes)

    def _fits(self, entry: Entry, destination: Location) -> None:
        """Raises where a file stands in the place of a directory, or the other way round."""
        try:
            there = self._stat(destination)
        except TransferError:  # nothing, or nothing that can be told without trying
            return
        if there is not None and there.directory != entry.directory:
            wanted, found = ("directory", "file") if entry.directory else ("file", "directory")
            text = f"a {found} stands where the {wanted} is to be"
            raise BadSpecification(text, url=destination.url, side="destination")

    def _destinations(self) -> set[str]:
        with self._lock:
            if self._made is None:
                transfers = (one for one in self._operations if isinstance(one, Transfer))
                self._made = {place.url for one in transfers for place in one.destinations}
            return self._made

    def _count(self, one: Surveyed) -> None:
        if not isinstance(one.operation, Transfer) or one.error is not None:
            return
        self.unsized += one.size is None
        self.bytes += one.size or 0
        place = one.operation.destinations[0]
        key = _device(place.path) if place.scheme in LOCAL else place.endpoint
        first, size = self._uses.get(key, (place, 0))
        self._uses[key] = first, size + (one.size or 0)

    @contextmanager
    def _lent(self, place: Location) -> Iterator[Backend]:
        """Raises ``TransferError``, whatever a backend or a library raised."""
        backend = self._pool.lend(place.endpoint, 1)
        try:
            yield backend
        except NotFound:
            self._pool.give_back(place.endpoint, 1, backend)
            raise
        except Exception as error:
            backend.close()
            raise translate(error, host=place.endpoint.host) from error
        except BaseException:
            backend.close()
            raise
        self._pool.give_back(place.endpoint, 1, backend)


def _told(operation: Operation) -> Surveyed:
    return Surveyed(operation, operation.size if isinstance(operation, Transfer) else None)


def _device(path: str) -> Hashable:
    """The file system that a local path is, or would be, on."""
    while True:
        try:
            return os.stat(path or ".").st_dev
        except (FileNotFoundError, NotADirectoryError):
            path = os.path.dirname(path.rstrip("/"))
        except (OSError, ValueError):
            return None
