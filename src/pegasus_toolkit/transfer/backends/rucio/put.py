"""Files written to a storage element, and registered once they are whole there: by then nothing can fail
that would leave the one without the other."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rucio.common.exception import DuplicateRule

from pegasus_toolkit.transfer.backends.rucio.errors import QUOTA
from pegasus_toolkit.transfer.backends.rucio.names import alive
from pegasus_toolkit.transfer.backends.rucio.site import Catalog, Did, did_of
from pegasus_toolkit.transfer.backends.rucio.storage import WRITE, Replica, Storages
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    Defect,
    Denied,
    IsDirectory,
    NoSpace,
    TimedOut,
    TransferError,
    Transient,
    Unreachable,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Control, Job, Source

BLOCK = 1 << 20
OTHER = "a DID is never replaced: take another name"


class Digested:
    """A source whose adler32 and md5 are taken as it is read. Where the DID is there already (``told``), what
    is not its content raises before the last byte is handed out."""

    def __init__(self, source: Source, told: dict[str, Any] | None, url: str) -> None:
        self.source = source
        self.told = told
        self.url = url
        self.count = 0
        self._adler = 1
        self._md5 = hashlib.md5(usedforsecurity=False)

    @property
    def sums(self) -> dict[str, Any]:
        """As the catalog has them."""
        return {"bytes": self.count, "adler32": f"{self._adler:08x}", "md5": self._md5.hexdigest()}

    @property
    def size(self) -> int | None:
        return self.source.size

    @property
    def file(self) -> str | None:
        return None  # who read that by itself would read it unseen

    @property
    def mode(self) -> int | None:
        return self.source.mode

    @property
    def digest(self) -> str:
        return self.source.digest

    @property
    def control(self) -> Control:
        return self.source.control

    def take(self, data: bytes | memoryview) -> None:
        """The next bytes; none: the end."""
        self.count += len(data)
        self._adler = zlib.adler32(data, self._adler)
        self._md5.update(data)
        over = not data or (self.told is not None and self.count >= self.told["bytes"])
        if over and self.told is not None and (differs := self.differs(self.told)):
            raise _other(differs, self.url)

    def differs(self, told: dict[str, Any]) -> str:
        """In what the catalog's entry is of another content, "" for nothing."""
        for key, value in self.sums.items():
            if told.get(key) not in (None, value):
                return f"{key} is {told[key]}, and not {value}"
        return ""

    def read_apart(self) -> None:
        """All of the local file, for who reads it unseen."""
        if self.source.file is None:
            raise Unsupported("only whole local files can be taken", url=self.url)
        with Path(self.source.file).open("rb") as file:
            while data := file.read(BLOCK):
                self.take(data)

    def readinto(self, view: memoryview) -> int:
        n = self.source.readinto(view)
        self.take(view[:n])
        return n

    def read(self, n: int = -1) -> bytes:
        data = self.source.read(n)
        self.take(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        for block in self.source:
            self.take(block)
            yield block

    def passed(self, n: int) -> None:
        self.source.passed(n)

    def close(self) -> None:
        self.source.close()


class Upload(NamedTuple):
    """A job under way."""

    job: Job[Source]
    did: Did
    new: bool
    replica: Replica
    end: Digested


class Writing:
    """Uploads to one storage element."""

    def __init__(self, catalog: Catalog, storages: Storages) -> None:
        self.catalog = catalog
        self.storages = storages
        self.rse = catalog.endpoint.authority
        self._scheme = ""

    def run(self, jobs: list[Job[Source]]) -> Iterator[Job[Source]]:
        """Each job when it is over. What is written and could not be registered is removed again."""
        uploads: list[Upload] = []
        for job, found in self._begin(jobs):
            if isinstance(found, Upload):
                uploads.append(found)
            else:
                job.error = found
                yield job
        written: list[Upload] = []
        try:
            for one in self._written(uploads):
                if one.job.error is None:
                    written.append(one)
                else:
                    yield one.job
            while written:
                yield from self._registered(written)
        finally:
            self._undo(written)

    # -- before ------------------------------------------------------------------------------------

    def _begin(self, jobs: list[Job[Source]]) -> Iterator[tuple[Job[Source], Upload | TransferError]]:
        dids: dict[str, Did] = {}
        try:
            scheme = self._way()
            for job in jobs:
                with suppress(BadSpecification):
                    dids[job.path] = did_of(job.path)
            known = self.catalog.known(dids.values())
            pfns = self.catalog.pfns(self.rse, dids.values(), scheme)
            room = self.catalog.room(self.rse)
        except Cancelled:
            raise
        except TransferError as error:
            yield from ((job, error) for job in jobs)
            return
        for job in jobs:
            url = self.catalog.url(job.path)
            try:
                did = did_of(job.path)
                told = known.get(did)
                _permitted(told, job.path, url)
                size = job.end.size
                if told is not None and size not in (None, told["bytes"]):
                    raise _other(f"bytes is {told['bytes']}, and not {size}", url)
                if room is not None and told is None:
                    room -= size or 0
                    if room < 0:
                        raise NoSpace("the account's quota is used up", url=url, host=self.rse, hint=QUOTA)
                if did not in pfns:
                    raise BadSpecification("Rucio has no place for that name", url=url, host=self.rse)
                replica = self.storages.replica(pfns[did], self.rse)
                yield job, Upload(job, did, told is None, replica, Digested(job.end, told, url))
            except TransferError as error:
                yield job, error

    def _way(self) -> str:
        """The first protocol for writing that is known here. Raises ``TransferError``."""
        if self.rse == "rucio":
            text = "an upload names its storage element"
            raise BadSpecification(text, url="rucio://", hint="write rucio://RSE/scope:name")
        if not self._scheme:
            told = self.catalog.ask(lambda client: client.get_rse(self.rse))
            if not told["availability_write"]:
                hint = "take another one, or wait until it is opened again"
                raise Denied(f"{self.rse} is closed for writing", host=self.rse, hint=hint)
            if not told["deterministic"]:
                hint = "write there by its own protocol, and register with rucio replica add"
                raise Unsupported(f"{self.rse} has no rule for the names of files", host=self.rse, hint=hint)
            ways = [(one["domains"]["wan"]["write"], one["scheme"]) for one in told["protocols"]]
            schemes = [scheme for rank, scheme in sorted(ways) if rank]
            if not (ours := [scheme for scheme in schemes if scheme in WRITE]):
                text = f"{self.rse} is written to by {', '.join(schemes) or 'nobody'} only"
                raise Unsupported(text, host=self.rse)
            self._scheme = ours[0]
        return self._scheme

    # -- the bytes ---------------------------------------------------------------------------------

    def _written(self, uploads: list[Upload]) -> Iterator[Upload]:
        """Those that are over at the storage, well or not."""
        for endpoint in dict.fromkeys(one.replica.endpoint for one in uploads):
            left = {one.job: one for one in uploads if one.replica.endpoint == endpoint}
            lost: TransferError = Defect("the backend lost track of it")
            try:
                backend = self.storages.backend(endpoint)
                batch: Any = backend.put(_feed(list(left.values()), backend.abilities.streams))
                with closing(batch):
                    for inner in batch:
                        one = left.pop(inner.task)
                        for name in ("error", "proven", "stored", "digest"):
                            setattr(one.job, name, getattr(inner, name))
                        yield one
            except Cancelled:
                raise
            except TransferError as error:  # of all that were under way, or of the opening
                self.storages.drop(endpoint)
                lost = error
            for one in left.values():
                one.job.error = one.job.error or lost
                yield one

    # -- after -------------------------------------------------------------------------------------

    def _registered(self, written: list[Upload]) -> Iterator[Job[Source]]:
        """All in one go; one by one where that is refused. Takes them off ``written``."""
        try:
            self._register(written)
            done = list(written)
            written.clear()
            yield from (one.job for one in done)
        except Cancelled:
            written.clear()  # Rucio may have heard of them: they stay, and running again finishes it
            raise
        except TransferError as error:
            while written:
                one = written.pop(0)
                self._alone(one, error)
                yield one.job

    def _alone(self, one: Upload, refused: TransferError) -> None:
        """Registers one file, or leaves nothing of it; ``refused``: what became of all of them."""
        try:
            if isinstance(refused, Unreachable | TimedOut):
                raise refused
            self._register([one])
        except Cancelled:
            raise
        except TransferError as error:
            one.job.error = error
            if isinstance(error, Transient):
                return  # Rucio may have heard of it, so that it stays; running again finishes it
            if one.new:  # it was registered, and a rule cannot be had, say
                with suppress(TransferError):
                    self.catalog.erase(one.did)
            self._undo([one])

    def _register(self, uploads: list[Upload]) -> None:
        """Replicas, and rules that keep them."""
        files = [{**one.did.told, **one.end.sums} for one in uploads]
        self.catalog.ask(lambda client: client.add_replicas(self.rse, files, ignore_availability=False))
        told = self.catalog.known(one.did for one in uploads)
        for one in uploads:  # Rucio takes a second registration for the first one, whatever it says
            if one.did in told and (differs := one.end.differs(told[one.did])):
                text = f"somebody else has registered it meanwhile: {differs}"
                raise Corrupted(text, url=self.catalog.url(one.job.path), side="destination")
        new = [one.did.told for one in uploads if one.new]
        groups = [new] * bool(new) + [[one.did.told] for one in uploads if not one.new]

        def protect(client: Any) -> None:
            for group in groups:
                with suppress(DuplicateRule):
                    client.add_replication_rule(group, 1, self.rse, lifetime=self.catalog.found.lifetime)

        self.catalog.ask(protect)

    def _undo(self, uploads: Iterable[Upload]) -> None:
        """Removes what is at the storage and that the catalog does not know; what that cannot tell stays."""
        catalog: Catalog | None = None
        for one in uploads:
            with suppress(TransferError):
                catalog = catalog or self.catalog.again()
                if not alive(catalog.known([one.did]).get(one.did)):
                    backend = self.storages.another(one.replica.endpoint)
                    with closing(backend):
                        list(backend.remove([one.replica.path]))


def _feed(uploads: list[Upload], streams: bool) -> Iterator[Job[Source]]:
    """For the storage's own backend; what it cannot take gets an error, and is left out."""
    for one in uploads:
        end: Source = one.end
        if not streams:  # it reads the file by itself
            try:
                one.end.read_apart()
            except TransferError as error:
                one.job.error = error
                continue
            except OSError as error:
                one.job.error = from_oserror(error, url=one.end.url, side="source")
                continue
            end = one.job.end
        yield Job(one.replica.path, "", one.job.required, end, one.job)


def _other(differs: str, url: str) -> Denied:
    text = f"the DID is there with another content: {differs}"
    return Denied(text, url=url, hint=OTHER, side="destination")


def _permitted(told: dict[str, Any] | None, path: str, url: str) -> None:
    """Raises where a DID that is there cannot be written to."""
    if path.endswith("/"):
        raise IsDirectory("names a directory", url=url, side="destination")
    if told is not None and told["did_type"] != "FILE":
        raise IsDirectory(f"a {told['did_type'].lower()} is there", url=url, side="destination")
    if told is not None and not alive(told):
        text = "it was erased, and Rucio has not removed it yet"
        raise Denied(text, url=url, hint="take another name", side="destination")
