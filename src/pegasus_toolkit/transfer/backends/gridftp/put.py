"""Files to a GridFTP server: stored under a name aside on one connection, checked and renamed on another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.connections import Connections
from pegasus_toolkit.transfer.backends.gridftp.data import BLOCK, Sender
from pegasus_toolkit.transfer.backends.gridftp.errors import failure, number
from pegasus_toolkit.transfer.backends.gridftp.get import Gets
from pegasus_toolkit.transfer.backends.gridftp.wire import Reply
from pegasus_toolkit.transfer.errors import (
    Corrupted,
    TransferError,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Control, Job, Sink, Source
from pegasus_toolkit.transfer.streams.checked import NullSink, mismatch

AHEAD = 4  # files that the server is told of before the one in hand is stored, or half of them
UNPROVEN = 32  # files stored and not yet renamed


class Item:
    """One file on its way: ``size`` bytes under the name ``aside`` once it is stored."""

    __slots__ = ("aside", "job", "size")

    def __init__(self, job: Job[Source], aside: str) -> None:
        self.job = job
        self.aside = aside
        self.size = 0


class Puts:
    """One batch."""

    def __init__(self, grid: Connections) -> None:
        self.grid = grid
        self.asked: deque[Item] = deque()  # the server waits for them
        self.stored: dict[Item, None] = {}  # not yet under their names
        self.unread: deque[Item] = deque()  # of these: to be read back before they are renamed
        self.over: deque[Job[Source]] = deque()
        self.buffer = memoryview(bytearray(BLOCK))

    def run(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """Yields each when it is over."""
        try:
            while self._fill(jobs):
                if self.asked:
                    self._store(self.asked[0])
                if len(self.stored) >= UNPROVEN or not (self.asked or self.over):
                    while len(self.stored) > (UNPROVEN // 4 if self.asked else 0):
                        if self.unread:
                            self._read_back(self.unread.popleft())
                        else:
                            self.grid.names().pump()
                while self.over:
                    yield self.over.popleft()
        finally:
            self._tidy()

    def _fill(self, jobs: Iterator[Job[Source]]) -> bool:
        if len(self.asked) > AHEAD // 2:
            return True  # several at a time go out together
        while len(self.asked) < AHEAD and not self.over:
            job = next(jobs, None)
            if job is None:
                break
            item = Item(job, self.grid.aside(job.path))
            try:
                self.grid.make_parent(job.path)
                self.grid.sender().ask(item.aside)
            except TransferError as error:
                if self.grid.broken():
                    self.asked.append(item)
                    raise
                error.side = "destination"
                self._failed(item, error)
            else:
                self.asked.append(item)
        return bool(self.asked or self.stored or self.over)

    def _store(self, item: Item) -> None:
        channel = self.grid.sender()
        reply = channel.begin()
        if not reply.preliminary:  # nothing was sent, so the connection is still in step
            self.asked.popleft()
            self._failed(item, self._refused(item, reply))
            return
        source = _Reader(item.job.end)
        try:
            item.size = channel.send(source.fill, self.buffer)
        except (TransferError, OSError):
            if source.error is None:  # the server broke off: it says why
                source.error = self._why(item, self._last_word(channel))
            self._broke(item, source.error)
            return
        reply = self._last_word(channel)
        if not reply.good:
            self._broke(item, self._why(item, reply))
            return
        self.asked.popleft()
        size = item.job.end.size
        if size is not None and size != item.size:
            wrong = Corrupted(f"{item.size} bytes came, {size} expected", url=item.job.path, side="source")
            self._spoiled(item, wrong)
        else:
            self.stored[item] = None
            self._prove(item)

    @staticmethod
    def _last_word(channel: Sender) -> Reply:
        while (reply := channel.session.reply()).preliminary:
            pass
        return reply

    def _broke(self, item: Item, error: TransferError) -> None:
        """The transfer ended in the middle: the others are asked for on a new connection."""
        self.asked.popleft()
        self.grid.drop_sender()
        self._spoiled(item, error)
        for other in self.asked:
            self.grid.sender().ask(other.aside)

    def _spoiled(self, item: Item, error: TransferError) -> None:
        self._failed(item, error)
        self.grid.names().ask(f"DELE {item.aside}")

    def _failed(self, item: Item, error: TransferError) -> None:
        item.job.error = error
        self.stored.pop(item, None)
        self.over.append(item.job)

    def _why(self, item: Item, reply: Reply) -> TransferError:
        names = self.grid.names()
        return failure(reply, names.url + item.job.path, names.host, side="destination")

    def _refused(self, item: Item, reply: Reply) -> TransferError:
        """The server would not make the file; where it tells no reason, its directory may."""
        if not number(reply) and (error := gridftp_names.no_parent(self.grid.names(), item.job.path)):
            error.side = "destination"
            return error
        return self._why(item, reply)

    # -- from the name aside to the final one ------------------------------------------------------

    def _prove(self, item: Item) -> None:
        """Asks what the server holds: its size, or its digest where that is wanted."""
        names, required = self.grid.names(), item.job.required
        digested = required.remote and required.algorithm in names.algorithms

        def told(reply: Reply) -> None:
            found = reply.text.split()[-1].lower() if reply.code == 213 and reply.text else ""
            if digested and found == item.job.end.digest:
                item.job.proven = True
            elif digested and found:
                wrong = mismatch(
                    item.job.path,
                    f"{required.algorithm} of what the server stored",
                    item.job.end.digest,
                    found,
                )
                wrong.side = "destination"
                self._unproven(item, wrong)
                return
            elif found != str(item.size):
                text = f"the server stored {found or 'an unknown number of'} bytes of {item.size}"
                error = Corrupted(text, url=names.url + item.job.path, side="destination")
                self._unproven(item, error if found else self._why(item, reply))
                return
            if required.remote and not digested:
                self.unread.append(item)
                return
            self._publish(item)

        command = f"CKSM {required.algorithm.upper()} 0 -1" if digested else "SIZE"
        names.send(f"{command} {item.aside}", told)

    def _read_back(self, item: Item) -> None:
        """The digest of what the server gives, as it tells none itself."""
        required = item.job.required._replace(digest="", also=(), remote=False, size=item.size)
        sink = NullSink(item.aside, required, Control())
        for back in Gets(self.grid).run(iter([Job[Sink](item.aside, "", required, sink)])):
            error = back.error
        if error is None and (found := sink.commit()) != item.job.end.digest:
            what = f"{required.algorithm} of what the server stored"
            error = mismatch(item.job.path, what, item.job.end.digest, found)
        if error is not None:
            error.side = "destination"
            self._unproven(item, error)
            return
        item.job.proven = True
        self._publish(item)

    def _unproven(self, item: Item, error: TransferError) -> None:
        self._failed(item, error)
        self.grid.names().send(f"DELE {item.aside}", _ignored)

    def _publish(self, item: Item) -> None:
        names = self.grid.names()

        def told(reply: Reply) -> None:
            if reply.good:
                self.stored.pop(item, None)
                self.over.append(item.job)
                return
            self._unproven(item, self._why(item, reply))

        names.send(f"RNFR {item.aside}", _ignored)
        names.send(f"RNTO {item.job.path}", told)

    # -- the end -----------------------------------------------------------------------------------

    def _tidy(self) -> None:
        """Lets finish what is stored, and removes what is not."""
        if not (self.asked or self.stored):
            with suppress(TransferError):
                self.grid.settle()  # removals
            return
        litter = [item.aside for item in (*self.asked, *self.stored)]
        with suppress(TransferError):
            if self.asked and not self.grid.broken():
                self.grid.sender().session.reply()  # so that the file is there when it is removed
            self.grid.drop_sender()
            while len(self.stored) > len(self.unread) and not self.grid.broken():
                self.grid.names().pump()
            litter = [item.aside for item in (*self.asked, *self.stored)]
        self.grid.drop_sender()
        if litter:
            self.grid.sweep(litter)


class _Reader:
    """Reads a source and keeps what it raised."""

    def __init__(self, end: Source) -> None:
        self.end = end
        self.error: TransferError | None = None

    def fill(self, view: memoryview) -> int:
        try:
            return self.end.readinto(view)
        except OSError as error:  # a TransferError may be one
            self.error = from_oserror(error, side="source")
            raise
        except TransferError as error:
            self.error = error
            raise


def _ignored(reply: Reply) -> None:
    """The reply to a command whose failure shows in the next one, or does not matter."""
