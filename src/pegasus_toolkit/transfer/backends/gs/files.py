"""Google Storage's primitives. An upload that is over is the publication: there is no rename."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any, NamedTuple

from pegasus_toolkit.transfer.backends.gs.site import Site
from pegasus_toolkit.transfer.backends.gs.upload import GsSending, GsUpload
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    Sending,
    Stored,
)
from pegasus_toolkit.transfer.backends.shared.objects import ObjectFiles
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.gcs import GcsRequest, GcsSession, Parted, nanoseconds
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Job, Sink, Source

BUCKET = "/storage/v1/b/{}"
OBJECT = "/storage/v1/b/{}/o/{}"
FIELDS = "items(name,size,updated,metadata/mtime),prefixes,nextPageToken"
BATCH = 100  # calls that one request may hold


class Object(NamedTuple):
    """What stands at a key. ``crc32c``, ``md5``: lower-case hex, "" where Google does not tell; ``modified``:
    when the content was last changed, as who put it there says, else when it was put (nanoseconds)."""

    size: int
    generation: str
    crc32c: str
    md5: str
    modified: int | None = None

    def digest(self, algorithm: str) -> str:
        return {"crc32c": self.crc32c, "md5": self.md5}.get(algorithm, "")


class GsFiles(ObjectFiles):
    """One bucket with one identity."""

    def __init__(self, session: GcsSession, site: Site) -> None:
        super().__init__(site)
        self.session = session
        self.site = site

    def url(self, path: str) -> str:
        return f"gs://{self.site.bucket}/{self.site.split(path)[1]}"

    def check(self, path: str) -> None:
        self.session.address(OBJECT, *self.site.object(path))

    def ask(
        self, method: str, form: str, *names: str, query: Sequence[tuple[str, str]] = (), **more: Any
    ) -> GcsRequest:
        """A request that is not begun yet."""
        return GcsRequest(self.session, method, self.session.address(form, *names, query=query), **more)

    # -- writing -------------------------------------------------------------------------------------

    def sending(self, job: Job[Source]) -> Sending:
        return GsSending(job)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """In one request where it is small; else so that it goes on after a cut.

        What Google stored must be what was sent, by its CRC32C, and by its MD5 where that was demanded.
        """
        assert isinstance(sending, GsSending)
        upload = GsUpload(self.session, sending, *self.site.object(name))
        stored = self.object((yield from upload.story()), name)
        wanted = sending.digests()
        for algorithm, expected in wanted.items():
            found = stored.digest(algorithm)
            if found and found != expected:
                yield from self._take_back(name, stored.generation)
                text = f"{algorithm} of what was stored is {found}, {expected} was sent"
                raise Corrupted(text, url=self.url(name), host=self.site.bucket, side="destination")
        proven = all(stored.digest(algorithm) for algorithm in wanted)
        return Stored(stored.size, proven)

    def _take_back(self, path: str, generation: str) -> Steps[None]:
        """Removes what was published although it is wrong, and nothing newer."""
        query = (("generation", generation),)
        answer = yield self.ask("DELETE", OBJECT, *self.site.object(path), query=query)
        answer.good()

    # -- reading ---------------------------------------------------------------------------------------

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """For reading back; downloads have a loop of their own."""
        request = GcsRequest(self.session, "GET", self.session.url(path))
        request.begin = lambda head: _into(request, head, sink)  # type: ignore[method-assign]
        answer = yield request
        answer.good()

    def head(self, path: str) -> Steps[Object]:
        """Raises ``NotFound``."""
        answer = yield self.ask("GET", OBJECT, *self.site.object(path))
        return self.object(answer.told_of(), path)

    def object(self, told: dict[str, Any], path: str) -> Object:
        """What Google tells of an object. Raises ``ServerFault`` for what is not understood."""
        try:
            size, generation = _size(told), str(told["generation"])
        except (TypeError, LookupError, AttributeError, ValueError):
            text = "an answer that does not tell what is stored"
            raise ServerFault(text, url=self.url(path), host=self.site.bucket) from None
        crc32c, md5 = _hex(told.get("crc32c"), 4), _hex(told.get("md5Hash"), 16)
        return Object(size, generation, crc32c, md5, _modified(told))

    def find_bucket(self, path: str) -> Steps[None]:
        answer = yield self.ask("GET", BUCKET, self.site.bucket)
        answer.good()

    def find(self, path: str) -> Steps[Found]:
        found = yield from self.head(path)
        told = ("crc32c", found.crc32c) if found.crc32c else None
        return Found("", False, found.size, ("md5", found.md5) if found.md5 else told, found.modified)

    def inspection(self, path: str) -> Steps[tuple[Found, dict[str, str]]]:
        """An object, and what Google tells of its content."""
        found = yield from self.head(path)
        told = {"crc32c": found.crc32c, "md5": found.md5}
        return Found("", False, found.size, modified=found.modified), told

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        found = yield from self.head(path)
        return found.digest(algorithm)

    # -- the bucket and its keys -------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """The bucket, unless it is there: who may not make buckets may still use one."""
        bucket = self.site.bucket
        answer = yield self.ask("GET", BUCKET, bucket)
        try:
            answer.good()
            return False
        except NotFound:
            pass
        except Denied:  # a role that reads and writes objects does not tell of buckets
            yield from self.listing(bucket, "", most=1)
            return False
        yield from self._make_bucket(bucket)
        return True

    def granted(self, wanted: Sequence[str]) -> Steps[list[str]]:
        """Which of these rights we have."""
        query = [("permissions", one) for one in wanted]
        answer = yield self.ask("GET", BUCKET + "/iam/testPermissions", self.site.bucket, query=query)
        found = answer.told_of().get("permissions", [])
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    def _make_bucket(self, bucket: str) -> Steps[None]:
        project = self.site.found.project
        if not project and self.site.bearer is not None:
            raise BadSpecification(
                "no such bucket, and no project is known that a new one would belong to",
                url=f"gs://{bucket}",
                hint=f"make it, or name the project in section [gs://{bucket}] of the credentials file",
            )
        query = (("project", project),)
        answer = yield self.ask(
            "POST", "/storage/v1/b", query=query, content=json.dumps({"name": bucket}).encode()
        )
        try:
            answer.good()
        except TransferError as error:  # perhaps another run has just made it
            again = yield self.ask("GET", BUCKET, bucket)
            if again.failed() is not None:
                raise error from None

    def listing(
        self, bucket: str, prefix: str, more: Any = None, most: int = 0, delimiter: str = ""
    ) -> Steps[Page]:
        """A page of all keys that begin so; their names are whole keys. ``delimiter``: of what goes on beyond
        the next "/" only that is told, as a directory."""
        query = [("prefix", prefix), ("fields", FIELDS)]
        query += [("maxResults", str(most))] if most else []
        query += [("pageToken", more)] if more else []
        query += [("delimiter", delimiter)] if delimiter else []
        answer = yield self.ask("GET", "/storage/v1/b/{}/o", bucket, query=query)
        page = answer.told_of()
        items, prefixes, token = page.get("items", []), page.get("prefixes", []), page.get("nextPageToken")
        try:
            found = [Found(one["name"], False, _size(one), modified=_modified(one)) for one in items]
            found += [Found(name.removesuffix("/") + "/", True) for name in prefixes]
        except (TypeError, LookupError, AttributeError, ValueError):
            text = "a listing that is not understood"
            raise ServerFault(text, url=answer.shown(), host=self.site.bucket) from None
        if token is not None and (not isinstance(token, str) or token == more):
            raise ServerFault("a listing that does not go on", url=answer.shown(), host=self.site.bucket)
        return Page(found, token or None)

    def unlink(self, path: str) -> Steps[None]:
        answer = yield self.ask("DELETE", OBJECT, *self.site.object(path))
        answer.good()

    def delete(self, bucket: str, keys: Sequence[str]) -> Steps[dict[str, TransferError]]:
        """Deletes at most ``BATCH`` keys by one request; what went wrong, by key.

        One that is not there counts as deleted, one of which nothing is told as not.
        """
        calls = [self.ask("DELETE", OBJECT, bucket, key) for key in keys]
        parted = Parted((call.method, call.url.removeprefix(self.session.base)) for call in calls)
        answer = yield self.ask("POST", "/batch/storage/v1", content=parted.body, kind=parted.kind)
        told = parted.answers(answer.good().get("content-type"), bytes(answer.body))
        failed: dict[str, TransferError] = {}
        for number, key in enumerate(keys):
            status, reason, message = told.get(number, (0, "", "nothing was told of this one"))
            if not 200 <= status < 300 and status != 404:
                url = self.url(f"/{key}")
                failed[key] = self.session.refused(status or 500, reason, message, url, None)
        return failed

    # -- copies by the server --------------------------------------------------------------------------

    def copy(self, source: str, bucket: str, target: str, head: Object) -> Steps[Object]:
        """A copy by the server, in as many steps as that wants, of the very content ``head`` is about."""
        form = OBJECT + "/rewriteTo/b/{}/o/{}"
        here, token = self.site.object(source), ""
        while True:
            query = [("ifSourceGenerationMatch", head.generation)]
            query += [("rewriteToken", token)] if token else []
            answer = yield self.ask("POST", form, *here, bucket, target, query=query, content=b"{}")
            told = answer.told_of()
            if told.get("done") is True:
                break
            again, token = token, told.get("rewriteToken")
            if not isinstance(token, str) or not token or (told.get("done") is not False and token == again):
                raise ServerFault("a copy that does not go on", url=answer.shown(), host=self.site.bucket)
        resource = told.get("resource")
        found = self.object(resource if isinstance(resource, dict) else {}, source)
        if (found.size, found.crc32c or head.crc32c) != (head.size, head.crc32c or found.crc32c):
            text = "the copy is not what it was made of"
            raise Corrupted(text, url=f"gs://{bucket}/{target}", host=bucket, side="destination")
        return found


def _size(told: dict[str, Any]) -> int:
    """Raises ``ValueError``, or what is raised by taking apart what is no object."""
    size = told["size"]
    if not (isinstance(told["name"], str) and size.isascii() and size.isdigit() and len(size) < 20):
        raise ValueError(size)
    return int(size)


def _modified(told: dict[str, Any]) -> int | None:
    """When the content was last changed, as who put it there says; else when it was put."""
    kept = nanoseconds((told.get("metadata") or {}).get("mtime"))
    return nanoseconds(told.get("updated")) if kept is None else kept


def _hex(text: object, length: int) -> str:
    """Base64 as Google writes digests, in hex; "" for anything else."""
    try:
        raw = b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return ""
    return raw.hex() if len(raw) == length else ""


def _into(request: GcsRequest, head: Head, sink: Sink) -> None:
    """Puts the body of a GET into the sink, an error's page elsewhere."""
    if head.status == 200:
        if head.length is not None:
            sink.announce(head.length)
        request.take = sink.write
    elif 200 < head.status < 300:
        raise ServerFault(f"HTTP {head.status}, where the whole object was asked for", url=request.shown())
