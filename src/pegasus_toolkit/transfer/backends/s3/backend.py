"""S3 and what speaks like it: ``s3://user@site/bucket/key``, ``s3s://``, and plain ``s3://bucket/key``.

Signed requests of our own on the curl client, for downloads the loop that HTTP has
(docs/decisions/0002-s3-client.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

from pegasus_toolkit.transfer.backends.http.get import Gets, Tuning
from pegasus_toolkit.transfer.backends.s3 import site as s3_site
from pegasus_toolkit.transfer.backends.s3.files import S3Files
from pegasus_toolkit.transfer.backends.shared.backend import FilesBackend, entry
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.clients.s3 import Keys
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    NotFound,
    TransferError,
)
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
WHOLE = Tuning(resumable=1 << 62, several=1 << 62)  # nothing is ever asked for in parts
IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections


class S3(FilesBackend):
    """One service with one identity. An object is visible only when whole: S3 sees to that."""

    files: S3Files

    def __init__(
        self, site: s3_site.Site, settings: Settings, look_up: Callable[[], Keys] | None = None
    ) -> None:
        """``look_up``: finds the keys of this moment, once the first ones are over."""
        self.abilities = Abilities(in_flight=IN_FLIGHT, directories=False, times="asked")
        self.site = site
        self.session = s3_site.session(site, settings, look_up)
        self.files = S3Files(self.session, site, settings.streams)
        self.loop = Loop(self.session, settings.connections)
        self.side = Loop(self.session, 1)  # for single requests, while a batch is under way
        self._buckets: set[str] = set()  # that are known to be there

    def runner(self, side: bool = False) -> Runner:
        """Clean-up after ``close`` goes over connections of its own."""
        return Runner(self.side if side else self.loop, lambda: Loop(self.session, 1))

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` objects in flight on kept connections."""
        tuning = TUNING if self.site.options.ranged_downloads else WHOLE
        return Gets(self.loop, tuning).run(jobs)

    # -- the rest --------------------------------------------------------------------------------------

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """In batches of a thousand, each key with its own outcome. A bucket itself is never removed."""
        runner, most = self.runner(), self.site.options.batch_delete_size
        waiting = iter(paths)
        while batch := list(islice(waiting, 1 if recursive else most)):
            if recursive:
                yield batch[0], _error(lambda: runner.one(self._remove_tree(batch[0])))
            else:
                yield from self._remove_batch(runner, batch)

    def _remove_batch(self, runner: Runner, paths: list[str]) -> Iterator[tuple[str, TransferError | None]]:
        buckets: dict[str, list[tuple[str, str]]] = {}
        for path in paths:
            try:
                bucket, key = self.site.object(path)
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
        bucket, key = self.site.split(path)
        failed: dict[str, TransferError] = {}
        if key:
            failed |= yield from self.files.delete(bucket, [key])
        more = None
        while True:
            page = yield from self.files.scan(path, more)
            keys = [one.name for one in page.found]
            for at in range(0, len(keys), self.site.options.batch_delete_size):
                batch = keys[at : at + self.site.options.batch_delete_size]
                failed |= yield from self.files.delete(bucket, batch)
            more = page.more
            if more is None:
                break
        for error in failed.values():
            raise error

    def mkdir(self, path: str) -> None:
        """Makes the bucket; S3 has no directories."""
        self.runner(side=True).one(self.files.make(path))

    def stat(self, path: str) -> Entry:
        """An object; what others begin with is a directory. Raises ``NotFound``."""
        found = self.runner(side=True).one(self.files.stat(path))
        return entry(path, found)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below; a key that ends in a slash, with nothing below it, is an empty directory."""
        return self.runner(side=True).emitted(lambda emit: self._walk(prefix, emit))

    def _walk(self, prefix: str, emit: Callable[[Entry], None]) -> Steps[None]:
        bucket, key = self.site.split(prefix)
        stem = key.rstrip("/") + "/" if key.strip("/") else ""
        marker, found, more = "", False, None
        while True:
            page = yield from self.files.scan(prefix, more)
            for one in page.found:
                found = True
                if marker and not one.name.startswith(marker):
                    emit(self._directory(bucket, marker))
                marker = one.name if one.name.endswith("/") and one.size == 0 else ""
                if not marker:
                    emit(Entry(self.site.path(bucket, one.name), one.size, modified=one.modified))
            more = page.more
            if more is None:
                break
        if marker and marker != stem:
            emit(self._directory(bucket, marker))
        if not found and stem:
            raise NotFound("nothing below", url=prefix, host=self.site.host)

    def _directory(self, bucket: str, marker: str) -> Entry:
        return Entry(self.site.path(bucket, marker.rstrip("/")), None, directory=True)

    def scan(self, path: str) -> Iterator[Entry]:
        """Keys, and what stands for directories, up to the next "/"."""
        return self.runner(side=True).emitted(lambda emit: self._scan(path, emit))

    def _scan(self, path: str, emit: Callable[[Entry], None]) -> Steps[None]:
        bucket, key = self.site.split(path)
        stem = key.rstrip("/") + "/" if key.strip("/") else ""
        more, found = None, False
        while True:
            page = yield from self.files.listing(bucket, stem, more, delimiter="/")
            for one in page.found:
                found = True
                name = self.site.path(bucket, one.name.rstrip("/"))
                if one.name != stem:
                    emit(Entry(name, one.size, bool(one.directory), modified=one.modified))
            more = page.more
            if more is None:
                break
        if not found and stem:
            raise NotFound("nothing below", url=path, host=self.site.host)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the SHA-256 or MD5 where the server has it of the whole object."""
        return self.runner(side=True).one(self._inspection(path, (algorithm,)))

    def _inspection(self, path: str, algorithms: Sequence[str]) -> Steps[Entry]:
        """One request tells all."""
        found = yield from self.files.head(path)
        told = {"sha256": found.sha256, "md5": found.md5}
        digest = next(((name, told[name]) for name in algorithms if told.get(name)), None)
        return Entry(path, found.size, False, digest, found.modified)

    # -- copies ----------------------------------------------------------------------------------------

    def copies(self, other: Backend, required: Requirement) -> bool:
        """On one endpoint with one identity. What must be verified is not copied: it would be seen before."""
        return (
            isinstance(other, S3)
            and other.site.endpoint == self.site.endpoint
            and other.site.keys.access == self.site.keys.access
            and not (required.digest or required.also or required.remote)
        )

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Several at once; the service moves the bytes."""
        yield from self._batch(jobs, lambda job: self._copied(job, control))

    def _copied(self, job: Job[None], control: Control) -> Steps[None]:
        control.spend(0)
        bucket, _ = self.site.object(job.destination)
        head = yield from self.files.head(job.path)
        if job.required.size not in (None, head.size):
            raise Corrupted(f"{head.size} bytes, {job.required.size} expected", url=job.path, side="source")
        if bucket != self.site.object(job.path)[0] and bucket not in self._buckets:
            yield from self.files.make(job.destination)  # services differ in what they say of a missing one
            self._buckets.add(bucket)
        yield from self.files.copy(job.path, job.destination, head)
        control.bytes += head.size
        job.size = head.size
        job.digest = head.sha256 if job.required.algorithm == "sha256" else ""

    def identity(self) -> Identity:
        """Whose access key signs the requests."""
        site = self.site
        if site.keys.access is None:
            return Identity("anonymous")
        return Identity("session key" if site.keys.token else "access key", site.who)

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
    return S3(s3_site.find(endpoint, settings), settings, partial(s3_site.keys_of, endpoint, settings))


_backend: type[Backend] = S3
_copies: type[Copies] = S3
_inspects: type[Inspects] = S3
_identified: type[Identified] = S3
