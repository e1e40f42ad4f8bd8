"""Google Storage: ``gs://bucket/key``.

google-auth makes the tokens, our own client moves the bytes (docs/decisions/0013-google-storage.md); for
downloads the loop that HTTP has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from pegasus_toolkit.transfer.backends.gs import site as gs_site
from pegasus_toolkit.transfer.backends.gs.files import BATCH, GsFiles
from pegasus_toolkit.transfer.backends.http.get import Fetch, Gets, Tuning
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, NotFound, TransferError
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Job,
    Requirement,
    Settings,
    Sink,
)

TUNING = Tuning()
IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections


class GsFetch(Fetch):
    """One object. Google's CRC32C is compared, which costs nothing; its MD5 where there is no other."""

    def _expect(self, head: Head) -> None:
        told, required = head.digests(), self.job.required
        if required.digest or required.also:
            return
        for algorithm in ("crc32c", "md5"):
            if algorithm in told:
                self.job.end.expect(algorithm, told[algorithm])
                break


class GsGets(Gets):
    """A batch of them."""

    fetch = GsFetch


class Gs(FilesBackend):
    """One bucket with one identity. An object is visible only when whole: Google sees to that."""

    files: GsFiles

    def __init__(self, site: gs_site.Site, settings: Settings) -> None:
        self.abilities = Abilities(in_flight=IN_FLIGHT, directories=False)
        self.site = site
        self.session = gs_site.session(site, settings)
        self.files = GsFiles(self.session, site)
        self.loop = Loop(self.session, settings.connections)
        self.side = Loop(self.session, 1)  # for single requests, while a batch is under way

    def runner(self, side: bool = False) -> Runner:
        """Clean-up after ``close`` goes over connections of its own."""
        return Runner(self.side if side else self.loop, lambda: Loop(self.session, 1))

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` objects in flight on kept connections."""
        return GsGets(self.loop, TUNING).run(jobs)

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """In batches of a hundred, each key with its own outcome. The bucket itself is never removed."""
        runner, waiting = self.runner(), iter(paths)
        while batch := list(islice(waiting, 1 if recursive else BATCH)):
            if recursive:
                yield batch[0], _error(lambda: runner.one(self._remove_tree(batch[0])))
            else:
                yield from self._remove_batch(runner, batch)

    def _remove_batch(self, runner: Runner, paths: list[str]) -> Iterator[tuple[str, TransferError | None]]:
        keys: dict[str, str] = {}
        for path in paths:
            try:
                self.files.check(path)
            except TransferError as error:
                yield path, error
            else:
                keys[path] = self.site.object(path)[1]
        failed: dict[str, TransferError] = {}
        try:
            failed = runner.one(self.files.delete(list(keys.values()))) if keys else {}
        except TransferError as error:
            failed = dict.fromkeys(keys.values(), error)
        yield from ((path, failed.get(key)) for path, key in keys.items())

    def _remove_tree(self, path: str) -> Steps[None]:
        """The key, and all that begins with it and a slash. Raises the first failure, at the end."""
        key, more = self.site.split(path)[1], None
        failed = (yield from self.files.delete([key])) if key else {}
        while True:
            page = yield from self.files.scan(path, more)
            keys = [one.name for one in page.found]
            for at in range(0, len(keys), BATCH):
                failed |= yield from self.files.delete(keys[at : at + BATCH])
            more = page.more
            if more is None:
                break
        for error in failed.values():
            raise error

    def mkdir(self, path: str) -> None:
        """Makes the bucket; Google Storage has no directories."""
        self.runner(side=True).one(self.files.make(path))

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below; a key that ends in a slash, with nothing below it, is an empty directory."""
        return self.runner(side=True).emitted(lambda emit: self._walk(prefix, emit))

    def _walk(self, prefix: str, emit: Callable[[Entry], None]) -> Steps[None]:
        key = self.site.split(prefix)[1]
        stem = key.rstrip("/") + "/" if key.strip("/") else ""
        marker, found, more = "", False, None
        while True:
            page = yield from self.files.scan(prefix, more)
            for one in page.found:
                found = True
                if marker and not one.name.startswith(marker):
                    emit(Entry("/" + marker.rstrip("/"), None, directory=True))
                marker = one.name if one.name.endswith("/") and one.size == 0 else ""
                if not marker:
                    emit(Entry("/" + one.name, one.size))
            more = page.more
            if more is None:
                break
        if marker and marker != stem:
            emit(Entry("/" + marker.rstrip("/"), None, directory=True))
        if not found and stem:
            raise NotFound("nothing below", url=self.files.url(prefix), host=self.site.bucket)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the CRC32C or MD5 where Google tells it."""
        found = self.runner(side=True).one(self.files.head(path))
        digest = found.digest(algorithm)
        return Entry(path, found.size, digest=(algorithm, digest) if digest else None)

    # -- copies ----------------------------------------------------------------------------------------

    def copies(self, other: Backend, required: Requirement) -> bool:
        """In one service with one identity. What must be verified is not copied: it would be seen before."""
        return (
            isinstance(other, Gs)
            and other.site.endpoint == self.site.endpoint
            and other.site.identity == self.site.identity
            and not (required.digest or required.also or required.remote)
        )

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Several at once; Google moves the bytes."""
        assert isinstance(other, Gs)
        yield from self._batch(jobs, lambda job: self._copied(job, other.site, control))

    def _copied(self, job: Job[None], there: gs_site.Site, control: Control) -> Steps[None]:
        control.spend(0)
        bucket, key = there.object(job.destination)
        head = yield from self.files.head(job.path)
        if job.required.size not in (None, head.size):
            text = f"{head.size} bytes, {job.required.size} expected"
            raise Corrupted(text, url=self.files.url(job.path), side="source")
        copied = yield from self.files.copy(job.path, bucket, key, head)
        control.bytes += copied.size
        job.size = copied.size
        job.stored += ("size", "digest") if copied.crc32c and head.crc32c else ("size",)

    def identity(self) -> Identity:
        """Whose token is shown."""
        return self.site.identity

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self.loop.close()
        self.side.close()


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


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of schemes names. Connects to nothing yet."""
    return Gs(gs_site.find(endpoint, settings), settings)


_backend: type[Backend] = Gs
_copies: type[Copies] = Gs
_inspects: type[Inspects] = Gs
_identified: type[Identified] = Gs
