"""Uploads by FTP: STOR aside, then RNFR and RNTO; directories made where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pegasus_toolkit.transfer.backends.ftp.core import Commands, FtpSession, Store, name
from pegasus_toolkit.transfer.backends.ftp.tree import Look, Maker
from pegasus_toolkit.transfer.backends.http.parents import Made, parent
from pegasus_toolkit.transfer.backends.http.uploads import Put, Puts
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.errors import Denied, IsDirectory, NotFound, TransferError
from pegasus_toolkit.transfer.interface import Job, Source

NO_PARENT = frozenset({450, 451, 550, 553})  # what servers say of a STOR into a missing directory


class FtpPuts(Puts):
    """One batch of uploads."""

    def __init__(
        self, session: FtpSession, loop: Loop, known: set[str], clean: Callable[[list[str]], None]
    ) -> None:
        super().__init__(loop, known, clean)
        self.ftp = session
        self.parents_by = Maker(session, self.send)

    def put(self, job: Job[Source]) -> Put:
        """One file's upload, not begun yet."""
        return FtpPut(self, self.ftp, job)

    def make(self, path: str, told: Callable[[Made], None]) -> None:
        """By MKD."""
        self.parents_by.ask(path, told)


class FtpPut(Put):
    """One file on its way: (its directory), STOR aside, RNFR and RNTO."""

    def __init__(self, batch: Puts, session: FtpSession, job: Job[Source]) -> None:
        super().__init__(batch, job)
        folder = job.path.rpartition("/")[0]  # "?" is a letter like any other here
        self.name = f"{folder}/{self.name.partition('?')[0].rpartition('/')[2]}"
        self.session = session
        self._cleared = False  # what stood there was removed, for a server that replaces nothing

    def begin(self) -> None:
        """Refuses names that would be more than one command."""
        try:
            name(self.target)
        except TransferError as error:
            return self.over(error)
        super().begin()

    def send(self) -> None:
        """STOR aside."""
        self.batch.aside[self.name] = self
        self.batch.send(Store(self.session, self.name, self._stored, self.upload))

    def erase(self, then: Callable[[Commands], None]) -> None:
        """By DELE."""
        self._commands(then, f"DELE {name(self.name)}")

    def _commands(self, then: Callable[[Commands], None], *commands: str) -> None:
        self.batch.send(Commands(self.session, self.target, then, commands))

    def _stored(self, store: Store) -> None:
        error = store.failed()
        self.answered = store.code >= 200
        if error is not None:
            self.unstored(error, store.code in NO_PARENT)
        else:
            self.batch.parents.known.add(parent(self.target))
            self._publish()

    def unstored(self, error: TransferError, orphan: bool) -> None:
        """A refusal of what exists is no "not found"."""
        if isinstance(error, NotFound):
            error = Denied(error.message, url=self.session.url(self.target), host=error.host)
        super().unstored(error, orphan)

    def _publish(self) -> None:
        if not self.given_up():
            self._commands(self._renamed, f"RNFR {name(self.name)}", f"RNTO {name(self.target)}")

    def _renamed(self, step: Commands) -> None:
        error = step.failed()
        if error is None:
            self.over(None)
        elif step.code in (550, 553) and not self._cleared:
            self.batch.send(Look(self.session, self.target, partial(self._standing, error)))
        else:
            self.drop(error)

    def _standing(self, first: TransferError, step: Look) -> None:
        """The rename was refused: something stands there."""
        if step.again():
            self.batch.send(Look(self.session, self.target, partial(self._standing, first)))
            return
        try:
            found = step.result()
        except TransferError:
            return self.drop(first)
        if found.directory:
            self.drop(IsDirectory("a directory stands there", url=step.url, side="destination"))
        else:
            self._cleared = True
            self._commands(lambda _: self._publish(), f"*DELE {name(self.target)}")


def clean(session: FtpSession, loop: Loop, names: list[str]) -> None:
    """Removes names aside, as far as the server lets us."""
    with suppress(TransferError):
        fetch(loop, Commands(session, "/", lambda _: None, [f"*DELE {name(one)}" for one in names]))
