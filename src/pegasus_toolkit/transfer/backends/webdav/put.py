"""Uploads by WebDAV: PUT aside, then MOVE; collections made where they are missing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from urllib.parse import unquote

from pegasus_toolkit.transfer.backends.http.backend import WANT_DIGEST
from pegasus_toolkit.transfer.backends.http.parents import Made, parent
from pegasus_toolkit.transfer.backends.http.uploads import Put, Puts
from pegasus_toolkit.transfer.backends.webdav.steps import Step, alone, nothing, propfind
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Job, Source

_NOT_RAW = re.compile("%[0189A-Fa-f].")  # control characters, and what is not ASCII
_MISREAD = re.compile("%(?:[01].|23|25|3[BbFf])")  # control characters, "#", "%", ";" and "?" in a name
NO_MOVE = frozenset({405, 501})
NO_PARENT = frozenset({403, 404, 409, 500})  # what servers say of a PUT into a missing collection


class Server:
    """What was learnt about one server, for all batches of a backend."""

    def __init__(self) -> None:
        self.moves = True  # it has MOVE
        self.expects = True  # it answers "Expect: 100-continue"
        self.known: set[str] = {"/"}  # collections that are there
        self.greeted = False  # it has seen who we are
        self.raw = False  # it decodes no name in a MOVE's destination
        self.sure = False  # that is known


class DavPuts(Puts):
    """One batch of uploads."""

    def __init__(self, loop: Loop, server: Server, clean: Callable[[list[str]], None]) -> None:
        super().__init__(loop, server.known, clean)
        self.server = server

    def put(self, job: Job[Source]) -> Put:
        """One file's upload, not begun yet."""
        return DavPut(self, self.server, job)

    def make(self, path: str, told: Callable[[Made], None]) -> None:
        """By MKCOL."""
        self.send(Step(self.session, "MKCOL", path, lambda step: told(made(step))))


def made(step: Step) -> Made:
    """What the answer to a MKCOL means. 405: something is there already."""
    if step.status == 405 or (step.error is None and step.status != 207):
        return "made"
    return "orphan" if step.status in (404, 409) else step.failed() or step.refusal()


class DavPut(Put):
    """One file on its way: (its collection), PUT aside, (its digest), MOVE."""

    def __init__(self, batch: Puts, server: Server, job: Job[Source], target: str = "") -> None:
        super().__init__(batch, job, target)
        self.server = server
        self.where = ""  # where it was sent to
        self.raw = False  # the destination of its MOVE was not encoded
        self._misplaced = False  # the server took its name as it was spelled

    def start(self, method: str, path: str, then: Callable[[Step], None], *extra: str) -> None:
        """Sends a request without a body."""
        self.batch.send(Step(self.batch.session, method, path, then, extra=extra))

    # -- PUT ---------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """What can't be sent twice should not be refused for want of a password, or of MOVE: tries both."""
        if self.large and not self.server.greeted:
            self.server.greeted = True
            self.start("MOVE", self.name, self._greeted, *self._to("F"))
        else:
            super().prepare()

    def _greeted(self, step: Step) -> None:
        self.server.moves = step.status not in NO_MOVE
        super().prepare()

    def send(self) -> None:
        """PUT aside, or under its own name where there is no MOVE."""
        self.where = path = self.name if self.server.moves else self.target
        if path != self.target:
            self.batch.aside[path] = self
        extra = () if self.large and self.server.expects else ("Expect:",)
        step = Step(self.batch.session, "PUT", path, self._stored, extra=extra, upload=self.upload)
        self.batch.send(step)

    def erase(self, then: Callable[[Step], None]) -> None:
        """By DELETE."""
        self.start("DELETE", self.name, then)

    def _stored(self, step: Step) -> None:
        error = step.failed()
        self.answered = step.status > 0
        if error is not None:
            return self.unstored(error, step.status in NO_PARENT)
        self.server.known.add(parent(self.target))
        if self.large and step.head is not None and not step.head.continued:
            self.server.expects = False  # it let us wait a second for nothing
        self._inspect()

    # -- what was stored ---------------------------------------------------------------------------

    def _inspect(self) -> None:
        name = WANT_DIGEST.get(self.job.required.algorithm)
        if self.job.required.remote and name is not None:
            self.start("HEAD", self.where, self._inspected, f"Want-Digest: {name}")
        else:
            self.publish()

    def _inspected(self, step: Step) -> None:
        algorithm, digest = self.job.required.algorithm, self.job.end.digest
        told = step.head.digests().get(algorithm, "") if step.error is None and step.head is not None else ""
        if told and told != digest:
            what = f"{algorithm} of what the server stored is {told}, expected {digest}"
            self.drop(Corrupted(what, url=step.shown(), side="destination"))
        else:
            self.job.proven = bool(told)
            self.publish()

    # -- MOVE --------------------------------------------------------------------------------------

    def publish(self, overwrite: str = "F") -> None:
        """Where something stands under the name, it must be a file: MOVE would remove a whole collection."""
        if self.where == self.target:
            return self.over(None)
        if self.given_up():
            return
        then = self._moved if overwrite == "F" else self._replaced
        self.start("MOVE", self.name, then, *self._to(overwrite))

    def _to(self, overwrite: str) -> tuple[str, ...]:
        destination = self.batch.session.url(self.target).partition("?")[0]
        self.raw = self.server.raw and not _NOT_RAW.search(destination)
        if self.raw:
            destination = unquote(destination, errors="surrogateescape")
        return f"Destination: {destination}", f"Overwrite: {overwrite}"

    def _moved(self, step: Step) -> None:
        if step.status == 412:
            self.batch.send(propfind(self.batch.session, self.target, self._standing))
        else:
            self._replaced(step)

    def _standing(self, step: Step) -> None:
        try:
            found = step.resources()
        except TransferError as error:
            return self.drop(error)
        if step.status == 404:
            self.drop(self._elsewhere(step))
        elif any(one.collection for one in found):
            self.drop(IsDirectory("a directory stands there", url=step.shown(), side="destination"))
        else:
            self.publish("T")

    def _replaced(self, step: Step) -> None:
        error = step.partly()
        if error is None and "%" in self.target and (_MISREAD.search(self.target) or not self.server.sure):
            self.start("HEAD", self.target, self._there)
        elif error is None:
            self.over(None)
        elif step.status in NO_MOVE:
            self.server.moves = False
            again = ServerFault("has no MOVE: files are sent under their own names", url=step.shown())
            self.drop(again, self.send if self.upload.rewind() else None)
        else:
            self.drop(error)

    def _there(self, step: Step) -> None:
        """Some servers decode no name in a Destination, others read a ``?`` or ``;`` in it wrong."""
        if step.status != 404:
            self.server.sure = True
            self.over(step.failed())
        elif self.raw or self._misplaced:
            self.over(self._elsewhere(step))
        else:  # perhaps it stands there as it was spelled
            self.server.raw = self._misplaced = True
            literal = self.target.replace("%", "%25")
            if _NOT_RAW.search(self.target):
                self.start("DELETE", literal, lambda gone: self.over(self._elsewhere(gone)))
            else:
                self.start("MOVE", literal, self._fetched, *self._to("F"))

    def _fetched(self, step: Step) -> None:
        if step.failed() is None:
            self.start("HEAD", self.target, self._there)
        else:
            self.server.raw = False
            self.over(self._elsewhere(step))

    def _elsewhere(self, step: Step) -> Unsupported:
        what = "the server takes this name of a MOVE's destination for another one"
        return Unsupported(what, url=self.batch.session.url(self.target), side="destination")


def clean(loop: Loop, names: Iterable[str]) -> None:
    """Removes names aside, as far as the server lets us.

    The server may still be busy with a PUT that was broken off: one that is not there yet is tried again,
    and one that was removed is looked for once more, since some servers make a file anew when they open it.
    """
    waiting, removed = list(names), set[str]()
    for pause in (0.0, 0.1, 0.4, 1.0, 2.0):
        time.sleep(pause if waiting else 0.0)
        for name in list(waiting):
            step = Step(loop.session, "DELETE", name, nothing)
            with suppress(TransferError):
                alone(loop, step)
            if 200 <= step.status < 300:
                removed.add(name)
            elif step.status != 404 or name in removed:
                waiting.remove(name)
