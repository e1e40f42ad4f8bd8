"""S3 and what speaks like it: ``s3://user@site/bucket/key``, ``s3s://``, and plain ``s3://bucket/key``.

Small objects go whole through obstore; all else by signed requests of our own: parts of large ones,
keys that obstore's paths cannot hold, and what obstore does not know (buckets, checksums, outcomes of
a delete). docs/decisions/0002-s3-client.md says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from pegasus_toolkit.transfer.backends.onebyone import OneByOne
from pegasus_toolkit.transfer.backends.s3 import site as s3_site
from pegasus_toolkit.transfer.backends.s3.store import Stores, fits
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Denied,
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
    Source,
)

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.backends.s3.keys import Keys
    from pegasus_toolkit.transfer.backends.s3.parts import Parts
    from pegasus_toolkit.transfer.backends.s3.wire import Wire

_T = TypeVar("_T")
MIB = 1 << 20
SMALL = 256 << 10  # larger objects are quicker by our own requests, into one buffer used again
WHOLE = 16 * MIB  # larger ones are put in parts


class S3(OneByOne):
    """One service with one identity. An object is visible only when whole: S3 sees to that."""

    abilities = Abilities(directories=False)

    def __init__(self, site: s3_site.Site, settings: Settings) -> None:
        self.site = site
        self._settings = settings
        self._stores = Stores(site, settings)
        self._closed = False
        self._large = False  # whether the last object was, and the next may be
        self._buffer = bytearray()
        self._buckets: set[str] = set()  # that are known to be there
        self._wire_: Wire | None = None
        self._keys_: Keys | None = None
        self._parts_: Parts | None = None

    # content

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        return super().get(self._sized(jobs))

    def _sized(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Looks at each job just before it is begun: a size that is known tells by what it is to be moved."""
        for job in jobs:
            if job.required.size is not None:
                self._large = job.required.size > SMALL
            yield job

    def load(self, path: str, sink: Sink) -> None:
        self._check()
        bucket, key = self._object(path)
        if fits(key) and not self._large:
            size = self._stores.load(bucket, key, sink, SMALL)
            if size is not None and size <= SMALL:
                return
        from pegasus_toolkit.transfer.backends.s3.parts import Object

        self._parts.load(Object(bucket, key), sink)
        self._large = sink.size > SMALL

    def save(self, job: Job[Source]) -> None:
        self._check()
        bucket, key = self._object(job.path)
        source = job.end
        size = source.size
        if size is None or (size > WHOLE and self.site.options.multipart_uploads):
            self._save_parts(bucket, key, job)
            return
        view = self._room(size + 1)  # room for one more, to see the end
        if fill(source, view) != size:
            raise Corrupted(f"not the {size} bytes that were told", url=job.path)
        self._save_whole(bucket, key, view[:size], job)

    def _save_parts(self, bucket: str, key: str, job: Job[Source]) -> None:
        from pegasus_toolkit.transfer.backends.s3.parts import Object

        parts, target = self._parts, Object(bucket, key)
        start = memoryview(b"")
        if job.end.size is None:
            start = self._room(parts.first)
            count = fill(job.end, start)
            if count < len(start):
                self._save_whole(bucket, key, start[:count], job)
                return
        upload = self._in_bucket(bucket, lambda: parts.begin(target))
        job.proven = parts.save(target, upload, job.end, start)

    def _save_whole(self, bucket: str, key: str, content: memoryview, job: Job[Source]) -> None:
        """One request. The server's word for the digest comes with its answer, so ask where it is wanted."""
        small = (
            len(content) <= SMALL and fits(key) and self.site.options.checksums and not job.required.remote
        )
        if small and self._in_bucket(bucket, lambda: self._stores.save(bucket, key, content)):
            return
        known = job.end.digest if job.required.algorithm == "sha256" else ""
        digest = known or hashlib.sha256(content).hexdigest()
        job.proven = self._in_bucket(bucket, lambda: self._keys.put(bucket, key, content, digest))

    def _in_bucket(self, bucket: str, work: Callable[[], _T]) -> _T:
        """Does the work; where the bucket is missing, makes it first, as upstream does for a put."""
        try:
            return work()
        except NotFound as error:
            try:
                self._keys.make_bucket(bucket)
            except Denied as refused:
                error.hint = f"and it cannot be made: {refused.message}"
                raise error from refused
            return work()

    def _room(self, size: int) -> memoryview:
        """A buffer that is used again; what it held may be gone when it grows."""
        if len(self._buffer) < size:
            self._buffer = bytearray(max(size, min(2 * size, MIB)))
        return memoryview(self._buffer)[:size]

    # the rest

    def remove(
        self, paths: Iterable[str], recursive: bool = False
    ) -> Iterator[tuple[str, TransferError | None]]:
        """In batches of a thousand, each key with its own outcome. A bucket itself is never removed."""
        waiting: dict[str, list[tuple[str, str]]] = {}
        for path in paths:
            try:
                bucket, key = self.site.split(path)
                if recursive:
                    self._remove_tree(bucket, key)
                elif not key:
                    raise BadSpecification("a bucket is not removed", url=path, host=self.site.host)
                else:
                    batch = waiting.setdefault(bucket, [])
                    batch.append((path, key))
                    if len(batch) >= self.site.options.batch_delete_size:
                        yield from self._remove_batch(bucket, waiting.pop(bucket))
                    continue
            except NotFound:
                yield path, None
            except TransferError as error:
                yield path, error
            else:
                yield path, None
        for bucket, batch in waiting.items():
            yield from self._remove_batch(bucket, batch)

    def _remove_batch(
        self, bucket: str, batch: list[tuple[str, str]]
    ) -> Iterator[tuple[str, TransferError | None]]:
        try:
            failed = self._keys.delete(bucket, [key for _, key in batch])
        except NotFound:
            failed = {}
        except TransferError as error:
            yield from ((path, error) for path, _ in batch)
            return
        yield from ((path, failed.get(key)) for path, key in batch)

    def _remove_tree(self, bucket: str, key: str) -> None:
        """The key, and all that begins with it and a slash. Raises the first failure, at the end."""
        self._check()
        stem = key.rstrip("/")
        failed: dict[str, TransferError] = {}
        batch = [key] if key else []
        for listed in self._keys.list(bucket, f"{stem}/" if stem else ""):
            batch.append(listed.key)
            if len(batch) >= self.site.options.batch_delete_size:
                failed.update(self._keys.delete(bucket, batch))
                batch = []
        if batch:
            failed.update(self._keys.delete(bucket, batch))
        for error in failed.values():
            raise error

    def mkdir(self, path: str) -> None:
        """Makes the bucket; S3 has no directories."""
        self._check()
        bucket, _ = self.site.split(path)
        self._keys.ensure_bucket(bucket)

    def stat(self, path: str) -> Entry:
        self._check()
        bucket, key = self.site.split(path)
        if not key:
            if not self._keys.has_bucket(bucket):
                raise NotFound("no such bucket", url=path, host=self.site.host)
            return Entry(path, None, directory=True)
        try:
            return self._keys.entry(path, bucket, key)
        except NotFound:
            if not any(self._keys.list(bucket, key.rstrip("/") + "/", most=1)):
                raise
            return Entry(path, None, directory=True)

    def list(self, prefix: str) -> Iterator[Entry]:
        """All keys below; a key that ends in a slash, with nothing below it, is an empty directory."""
        self._check()
        bucket, key = self.site.split(prefix)
        stem = key.rstrip("/") + "/" if key.strip("/") else ""
        marker = ""
        found = False
        for listed in self._keys.list(bucket, stem):
            found = True
            if marker and not listed.key.startswith(marker):
                yield self._directory(bucket, marker)
            marker = listed.key if listed.key.endswith("/") and listed.size == 0 else ""
            if not marker:
                yield Entry(self.site.path(bucket, listed.key), listed.size)
        if marker and marker != stem:
            yield self._directory(bucket, marker)
        if not found and stem:
            raise NotFound("nothing below", url=prefix, host=self.site.host)

    def _directory(self, bucket: str, marker: str) -> Entry:
        return Entry(self.site.path(bucket, marker.rstrip("/")), None, directory=True)

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the SHA-256 or MD5 where the server has it of the whole object."""
        self._check()
        bucket, key = self._object(path)
        return self._keys.entry(path, bucket, key, algorithm)

    def copies(self, other: Backend, required: Requirement) -> bool:
        """On one endpoint with one identity. What must be verified is not copied: it would be seen before."""
        return (
            isinstance(other, S3)
            and other.site.endpoint == self.site.endpoint
            and other.site.access_key == self.site.access_key
            and not (required.digest or required.also or required.remote)
        )

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        for job in jobs:
            try:
                self._copy(job, control)
            except TransferError as error:
                job.error = error
            yield job

    def _copy(self, job: Job[None], control: Control) -> None:
        from pegasus_toolkit.transfer.backends.s3.keys import MOST_AT_ONCE
        from pegasus_toolkit.transfer.backends.s3.parts import Object

        self._check()
        control.spend(0)
        source, target = Object(*self._object(job.path)), Object(*self._object(job.destination))
        head = self._keys.head(*source)
        if job.required.size not in (None, head.size):
            raise Corrupted(f"{head.size} bytes, {job.required.size} expected", url=job.path)
        if target.bucket != source.bucket and target.bucket not in self._buckets:
            self._keys.ensure_bucket(target.bucket)  # services differ in what they say of a missing one
            self._buckets.add(target.bucket)
        if head.size > MOST_AT_ONCE:
            self._parts.copy(source, target, head)
        else:
            self._keys.copy(source, target, head)
        control.bytes += head.size
        job.size = head.size
        job.digest = head.sha256 if job.required.algorithm == "sha256" else ""

    def identity(self) -> Identity:
        """Whose access key signs the requests."""
        site = self.site
        if site.access_key is None:
            return Identity("anonymous")
        return Identity("session key" if site.session_token else "access key", site.who)

    def close(self) -> None:
        self._closed = True
        if self._wire_ is not None:
            self._wire_.close()
        if self._parts_ is not None:
            self._parts_.close()

    # parts that are made when first needed: http.client takes as long to import as a small copy

    @property
    def _wire(self) -> Wire:
        if self._wire_ is None:
            from pegasus_toolkit.transfer.backends.s3.wire import Wire

            settings = self._settings
            self._wire_ = Wire(self.site, settings.connect_timeout, settings.stall_timeout)
        return self._wire_

    @property
    def _keys(self) -> Keys:
        if self._keys_ is None:
            from pegasus_toolkit.transfer.backends.s3.keys import Keys

            self._keys_ = Keys(self._wire)
        return self._keys_

    @property
    def _parts(self) -> Parts:
        if self._parts_ is None:
            from pegasus_toolkit.transfer.backends.s3.parts import Parts

            self._parts_ = Parts(self._wire, self._settings.streams)
        return self._parts_

    def _object(self, path: str) -> tuple[str, str]:
        bucket, key = self.site.split(path)
        if not key:
            raise BadSpecification("a bucket, where an object is needed", url=path, host=self.site.host)
        return bucket, key

    def _check(self) -> None:
        if self._closed:
            raise Cancelled("closed", host=self.site.host)


def fill(source: Source, view: memoryview) -> int:
    """Reads until the view is full or the source at its end; how much."""
    at = 0
    while at < len(view) and (n := source.readinto(view[at:])):
        at += n
    return at


def open_backend(endpoint: Endpoint, settings: Settings) -> S3:
    """The S3 service that an endpoint names. Raises ``BadSpecification`` or ``CredentialError``."""
    return S3(s3_site.find(endpoint, settings), settings)


_backend: type[Backend] = S3
_copies: type[Copies] = S3
_inspects: type[Inspects] = S3
_identified: type[Identified] = S3
