"""Files from a GridFTP server: sizes are asked for ahead on one connection, files on another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.connections import Connections
from pegasus_toolkit.transfer.backends.gridftp.errors import failure
from pegasus_toolkit.transfer.backends.gridftp.names import Facts
from pegasus_toolkit.transfer.errors import TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Job, Sink

AHEAD = 32  # files asked for at a time, or half of them
DRAINED = 4 << 20  # bytes of a file that nobody wants any more that are read to keep the connection


class Gets:
    """One batch."""

    def __init__(self, grid: Connections) -> None:
        self.grid = grid
        self.looking = 0  # files whose size was asked for
        self.asked: deque[tuple[Job[Sink], int]] = (
            deque()
        )  # with their sizes, in the order in which they come
        self.over: deque[Job[Sink]] = deque()

    def run(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Yields each when it is over."""
        try:
            while self._fill(jobs):
                while self.looking and len(self.asked) < AHEAD // 4:
                    self.grid.names().pump()
                if self.asked:
                    self._receive(*self.asked[0])
                while self.over:
                    yield self.over.popleft()
        finally:
            if self.asked or self.looking:
                self.grid.drop()  # what was asked for would come on it

    def _fill(self, jobs: Iterator[Job[Sink]]) -> bool:
        if self.looking + len(self.asked) > AHEAD // 2:
            return True  # several at a time go out together
        while self.looking + len(self.asked) < AHEAD and not self.over:
            job = next(jobs, None)
            if job is None:
                break
            self._look(job)
        return bool(self.looking or self.asked or self.over)

    def _look(self, job: Job[Sink]) -> None:
        names = self.grid.names()

        def told(found: Facts | TransferError) -> None:
            self.looking -= 1
            try:
                if isinstance(found, TransferError):
                    raise found
                if error := gridftp_names.not_a_directory(found, names.url + job.path):
                    raise error
                if found.size is not None:
                    job.end.announce(found.size)
            except TransferError as error:
                self._failed(job, error)
                return
            self.grid.receiver().ask(job.path)
            self.asked.append((job, found.size or 0))

        try:
            gridftp_names.look(names, job.path, told)
        except TransferError as error:
            if names.broken:
                raise
            self._failed(job, error)
        else:
            self.looking += 1

    def _receive(self, job: Job[Sink], size: int) -> None:
        channel = self.grid.receiver()
        writer = _Writer(job.end, size)
        try:
            reply = channel.receive(writer.write)
        except TransferError as error:
            if error is not writer.error:
                raise
            self.asked.popleft()
            self._again()
        else:
            self.asked.popleft()
            if writer.error is None and not reply.good:
                names = self.grid.names()
                writer.error = failure(reply, names.url + job.path, names.host, side="source")
                self._again()  # what it had begun to send may still come
        if writer.error is not None:
            self._failed(job, writer.error)
        else:
            self.over.append(job)

    def _again(self) -> None:
        """Asks for what is still to come on a new connection."""
        self.grid.drop_receiver()
        if self.asked:
            channel = self.grid.receiver()
            for job, _ in self.asked:
                channel.ask(job.path)

    def _failed(self, job: Job[Sink], error: TransferError) -> None:
        job.error = error
        self.over.append(job)


class _Writer:
    """Writes to a sink and keeps what it raised; a small rest of a file is let pass, to stay connected."""

    def __init__(self, end: Sink, size: int) -> None:
        self.end = end
        self.size = size
        self.taken = 0
        self.error: TransferError | None = None

    def write(self, data: memoryview) -> None:
        self.taken += len(data)
        try:
            if self.error is None:
                self.end.write(data)
        except OSError as error:  # a TransferError may be one
            self.error = from_oserror(error, side="destination")
        except TransferError as error:
            self.error = error
        if self.error is not None and max(self.size, self.taken) > DRAINED:
            raise self.error
