"""Stores of objects in buckets: keys in place of directories, removed many at a time, listed page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend, entry
from pegasus_toolkit.transfer.backends.shared.files import (
    CannotRename,
    Files,
    Found,
    Page,
    PlainFiles,
    Traits,
)
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.backends.shared.trees import Pages
from pegasus_toolkit.transfer.errors import Cancelled, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Entry


class Place(Protocol):
    """How a URL's paths name buckets and keys."""

    @property
    def host(self) -> str:
        """As errors call it."""

    def split(self, path: str) -> tuple[str, str]:
        """Bucket and key of a path as it stands in the URL. Raises ``BadSpecification``."""

    def object(self, path: str) -> tuple[str, str]:
        """The same. Raises ``BadSpecification`` where there is no key."""

    def path(self, bucket: str, key: str) -> str:
        """The path that ``split`` takes apart."""


class Objects(Files, Protocol):
    """What a store gives besides the primitives of all protocols; ``scan`` goes through all keys below."""

    def listing(
        self, bucket: str, prefix: str, more: Any = None, most: int = 0, delimiter: str = ""
    ) -> Steps[Page]:
        """A page of all keys that begin so; their names are whole keys. ``delimiter``: of what goes on beyond
        the next "/" only that is told, as a directory."""

    def delete(self, bucket: str, keys: Sequence[str]) -> Steps[dict[str, TransferError]]:
        """Deletes the keys; what went wrong, by key. One that is not there counts as deleted."""

    def inspection(self, path: str) -> Steps[tuple[Found, dict[str, str]]]:
        """An object with the digests that the store tells ("" for none), by algorithm, in one request."""


class ObjectFiles(PlainFiles):
    """What stores have in common: no directories, no renames; an object is seen when it is whole."""

    def __init__(self, place: Place) -> None:
        super().__init__(Traits(renames=False, asks_first=True))
        self.traits.greeted = True  # every request shows who we are
        self.place = place

    def listing(
        self, bucket: str, prefix: str, more: Any = None, most: int = 0, delimiter: str = ""
    ) -> Steps[Page]:
        """As ``Objects`` has it."""
        raise NotImplementedError

    def find_bucket(self, path: str) -> Steps[None]:
        """Asks for the bucket of that path. Raises ``NotFound``."""
        raise NotImplementedError

    def find(self, path: str) -> Steps[Found]:
        """Asks for an object. Raises ``NotFound``."""
        raise NotImplementedError

    def stat(self, path: str) -> Steps[Found]:
        """An object; a bucket, or what other keys begin with, is a directory."""
        bucket, key = self.place.split(path)
        if not key:
            yield from self.find_bucket(path)
            return Found("", True)
        try:
            return (yield from self.find(path))
        except NotFound:
            page = yield from self.listing(bucket, key.rstrip("/") + "/", most=1)
            if not page.found:
                raise
            return Found("", True)

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """All keys below, at any depth: there are no directories to go through."""
        bucket, key = self.place.split(path)
        return (yield from self.listing(bucket, key.rstrip("/") + "/" if key.strip("/") else "", more))

    def unlink(self, path: str) -> Steps[None]:
        """One key."""
        raise NotImplementedError

    def rmdir(self, path: str) -> Steps[None]:
        """The marker of an empty directory."""
        yield from self.unlink(path.rstrip("/") + "/")

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """Nothing here needs one."""
        yield from ()
        raise CannotRename("stores of objects have no rename", url=new, host=self.place.host)


class ObjectsBackend(FilesBackend):
    """Verbs over ``files`` of a store. ``at_once``: keys that one request deletes."""

    files: Objects
    place: Place
    at_once = 1000

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """Many by one request, each key with its own outcome. A bucket itself is never removed."""
        runner, waiting = self.runner(), iter(paths)
        while batch := list(islice(waiting, 1 if recursive else self.at_once)):
            if recursive:
                yield batch[0], _error(lambda: runner.one(self._remove_tree(batch[0])))
            else:
                yield from self._remove_batch(runner, batch)

    def _remove_batch(self, runner: Runner, paths: list[str]) -> Iterator[tuple[str, TransferError | None]]:
        buckets: dict[str, list[tuple[str, str]]] = {}
        for path in paths:
            try:
                self.files.check(path)
                bucket, key = self.place.object(path)
            except TransferError as error:
                yield path, error
            else:
                buckets.setdefault(bucket, []).append((path, key))
        for bucket, both in buckets.items():
            failed: dict[str, TransferError] = {}
            try:
                failed = runner.one(self.files.delete(bucket, [key for _, key in both]))
            except NotFound:
                pass
            except TransferError as error:
                failed = {key: error for _, key in both}
            yield from ((path, failed.get(key)) for path, key in both)

    def _remove_tree(self, path: str) -> Steps[None]:
        """The key, and all that begins with it and a slash. Raises the first failure, at the end."""
        bucket, key = self.place.split(path)
        failed: dict[str, TransferError] = {}
        if key:
            failed |= yield from self.files.delete(bucket, [key])
        more, pages = None, Below(key, self.files.url(path))
        while True:
            page = yield from self.files.scan(path, more)
            keys = [one.name for one in pages.below(page)]
            for at in range(0, len(keys), self.at_once):
                failed |= yield from self.files.delete(bucket, keys[at : at + self.at_once])
            more = page.more
            if more is None:
                break
        for error in failed.values():
            raise error
        pages.close()

    def mkdir(self, path: str) -> None:
        """Makes the bucket; there are no directories."""
        self.runner(side=True).one(self.files.make(path))

    def stat(self, path: str) -> Entry:
        """An object; what others begin with is a directory. Raises ``NotFound``."""
        return entry(path, self.runner(side=True).one(self.files.stat(path)))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below; a key that ends in a slash, with nothing below it, is an empty directory."""
        return self.runner(side=True).emitted(lambda emit: self._walk(prefix, emit))

    def _walk(self, prefix: str, emit: Callable[[Entry], None]) -> Steps[None]:
        bucket, key = self.place.split(prefix)
        marker, found, more, pages = "", False, None, Below(key, self.files.url(prefix))
        stem = pages.stem
        while True:
            page = yield from self.files.scan(prefix, more)
            for one in pages.below(page):
                found = True
                if marker and not one.name.startswith(marker):
                    emit(self._directory(bucket, marker))
                marker = one.name if one.name.endswith("/") and one.size == 0 else ""
                if not marker:
                    emit(Entry(self.place.path(bucket, one.name), one.size, modified=one.modified))
            more = page.more
            if more is None:
                break
        if marker and marker != stem:
            emit(self._directory(bucket, marker))
        pages.close()
        if not found and stem:
            raise NotFound("nothing below", url=prefix, host=self.place.host)

    def _directory(self, bucket: str, marker: str) -> Entry:
        return Entry(self.place.path(bucket, marker.rstrip("/")), None, directory=True)

    def scan(self, path: str) -> Iterator[Entry]:
        """Keys, and what stands for directories, up to the next "/"."""
        return self.runner(side=True).emitted(lambda emit: self._scan(path, emit))

    def _scan(self, path: str, emit: Callable[[Entry], None]) -> Steps[None]:
        bucket, key = self.place.split(path)
        more, found, pages = None, False, Below(key, self.files.url(path))
        stem = pages.stem
        while True:
            page = yield from self.files.listing(bucket, stem, more, delimiter="/")
            for one in pages.below(page):
                found = True
                name = self.place.path(bucket, one.name.rstrip("/"))
                if one.name != stem:
                    emit(Entry(name, one.size, bool(one.directory), modified=one.modified))
            more = page.more
            if more is None:
                break
        pages.close()
        if not found and stem:
            raise NotFound("nothing below", url=path, host=self.place.host)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the digest where the store has it of the whole object."""
        return self.runner(side=True).one(self._inspection(path, (algorithm,)))

    def _inspection(self, path: str, algorithms: Sequence[str]) -> Steps[Entry]:
        """One request tells all."""
        found, told = yield from self.files.inspection(path)
        digest = next(((name, told[name]) for name in algorithms if told.get(name)), None)
        return entry(path, found._replace(digest=digest))


class Below(Pages):
    """The pages of what is below one key. What a store tells besides is not touched: neither fetched nor
    removed."""

    def __init__(self, key: str, url: str) -> None:
        super().__init__(url)
        self.stem = key.rstrip("/") + "/" if key.strip("/") else ""
        self._wrong: TransferError | None = None

    def below(self, page: Page) -> list[Found]:
        """Of the next page. Raises ``ServerFault`` where there is no end."""
        self.turn(page)
        found = [one for one in page.found if one.name.startswith(self.stem)]
        if len(found) < len(page.found):
            other = next(one.name for one in page.found if not one.name.startswith(self.stem))
            text = f"the listing has a key that is not below {self.stem!r}: {other[:200]!r}"
            self._wrong = ServerFault(text, url=self._url)
        self._wrong = page.wrong or self._wrong
        return found

    def close(self) -> None:
        """At the end. Raises what was wrong."""
        if self._wrong is not None:
            raise self._wrong


def _error(work: Callable[[], object]) -> TransferError | None:
    """What went wrong, but that nothing was there."""
    try:
        work()
    except NotFound:
        return None
    except Cancelled:
        raise
    except TransferError as error:
        return error
    return None
