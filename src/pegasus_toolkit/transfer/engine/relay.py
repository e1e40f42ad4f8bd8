"""Relays: from one remote storage to another, through this machine's memory.

Small files are fetched into verified spools and handed on through a bounded queue, so that both
connections stay full. A large file goes through a bounded pipe, hashed on the way; its last block
is handed out only when the whole was verified. *Staged* is the first with spools on disk, for ends
that can only move whole files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol

from pegasus_toolkit.transfer.engine.finish import borrow_backends, finish_get, finish_put, sent
from pegasus_toolkit.transfer.engine.lanes import SPOOL
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.tasks import Task
from pegasus_toolkit.transfer.engine.worker import Worker
from pegasus_toolkit.transfer.errors import Corrupted, Side, TransferError, translate
from pegasus_toolkit.transfer.interface import Backend, Control, Data, Job, Requirement, Sink, Source
from pegasus_toolkit.transfer.streams.checked import MemorySink, MemorySource
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource
from pegasus_toolkit.transfer.streams.pipe import Pipe

SPOOLED = 64 << 20  # bytes of all spools of one batch that wait to be written


class TooLarge(TransferError):
    """The file does not fit a spool: it must go through a pipe. Never leaves the engine."""


class Spool(Protocol):
    """A sink whose verified content can be read as a source."""

    sink: Sink

    def source(self) -> Source:
        """What was committed, to be read once."""


class _BoundedSink(MemorySink):
    content: bytes = b""

    def announce(self, size: int) -> None:
        if size > SPOOL:
            raise TooLarge(f"{size} bytes", url=self.check.name)
        super().announce(size)

    def write(self, data: Data) -> None:
        if self.check.count + len(data) > SPOOL:
            raise TooLarge("more than a spool holds", url=self.check.name)
        super().write(data)

    def publish(self, content: bytes) -> None:
        self.content = content


class MemorySpool:
    """A spool in memory, of at most ``SPOOL`` bytes."""

    def __init__(self, name: str, required: Requirement, control: Control) -> None:
        self._sink = _BoundedSink(name, required._replace(remote=False), control)
        self.sink: Sink = self._sink
        self.name, self.required, self.control = name, required, control

    def source(self) -> Source:
        """Its content; verified again as it is read, since memory is not proof either."""
        source = MemorySource(self.name, self._sink.content, self.required, Control(self.control.run))
        source.mode = self._sink.mode
        return source


class FileSpool:
    """A spool in a private file (0600), removed when it was read."""

    def __init__(self, file: Path, required: Requirement, control: Control) -> None:
        self.path = str(file)
        self.sink: Sink = FileSink(self.path, required._replace(remote=False), control)
        self.required, self.control = required, control

    def source(self) -> Source:
        """Its content; closing it removes the file."""
        source = _Staged(self.path, self.required, Control(self.control.run))
        source.mode = self.sink.mode  # the spool's own are private, not the origin's
        return source


class _Staged(FileSource):
    def close(self) -> None:
        super().close()
        Path(self.path).unlink(missing_ok=True)


class _Room:
    """Spools that wait to be written: ``SPOOLED`` bytes, each counted with what it costs to keep."""

    KEPT = 4096  # bytes for the objects around one spool

    def __init__(self, runtime: Runtime) -> None:
        self.changed = runtime.condition()
        self.left = SPOOLED

    def take(self, size: int) -> bool:
        """Whether there was room within a moment."""
        with self.changed:
            if self.left <= 0:
                self.changed.wait(0.1)
            if self.left <= 0:
                return False
            self.left -= size + self.KEPT
            return True

    def give(self, size: int) -> None:
        """A spool was written."""
        with self.changed:
            self.left += size + self.KEPT
            self.changed.notify()


class _Queue:
    """Spools that are ready to be written, in order; ``None`` when no more will come."""

    def __init__(self, runtime: Runtime) -> None:
        self.changed = runtime.condition()
        self.items: deque[Job[Source] | None] = deque()

    def put(self, item: Job[Source] | None) -> None:
        """Adds one."""
        with self.changed:
            self.items.append(item)
            self.changed.notify()

    def get(self) -> Job[Source] | None:
        """Waits for the next."""
        with self.changed:
            while not self.items:
                self.changed.wait()
            return self.items.popleft()

    def next(self) -> Job[Source] | None:
        """The next one that is there already; raises ``IndexError`` where none is."""
        with self.changed:
            return self.items.popleft()


def relay(worker: Worker) -> None:
    """Small files, through spools in memory."""
    _through(worker, lambda task: MemorySpool(_name(task), task.required, worker.control))


def staged(worker: Worker) -> None:
    """Whole files, through a private directory on disk that is removed whatever happens."""
    directory = Path(tempfile.mkdtemp(prefix=f"pegasus-transfer-{worker.control.run}-"))  # 0700
    number = count()
    try:
        _through(worker, lambda task: FileSpool(directory / f"{next(number)}", task.required, worker.control))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _name(task: Task) -> str:
    return task.source.path if task.source is not None else ""


def _through(worker: Worker, spool: Callable[[Task], Any]) -> None:
    reader, writer = borrow_backends(worker)
    ready = _Queue(worker.runtime)
    room = _Room(worker.runtime)
    fetcher = _Thread(worker.runtime, lambda: _fetch(worker, reader, spool, ready, room))
    fetcher.start()
    try:
        _store(worker, writer, ready, room)
    except BaseException:
        worker.halt()
        reader.close()
        raise
    finally:
        fetcher.join()
    if fetcher.error is not None:
        raise fetcher.error


def _fetch(
    worker: Worker,
    reader: Backend,
    spool: Callable[[Task], Any],
    ready: _Queue,
    room: _Room,
) -> None:
    spools: dict[Job[Sink], Any] = {}

    def prepare(task: Task) -> Job[Sink]:
        one = spool(task)
        job: Job[Sink] = Job(_name(task), task.destination.path, task.required, one.sink, task)
        job.type = task.destination.type
        spools[job] = one
        return job

    try:
        for job in reader.get(worker.jobs(prepare)):
            one = spools.pop(job)
            digest = finish_get(job)
            if isinstance(job.error, TooLarge):
                worker.too_large(job)
            elif job.error is not None:
                _blame(job.error, "source")
                worker.over(job, job.end.size, "")
            else:
                while not room.take(job.end.size):
                    if worker.stopped:
                        return
                put: Job[Source] = Job(job.destination, "", job.required, one.source(), job.task)
                put.digest = digest
                worker.hand_on(job, put)
                ready.put(put)
    finally:
        ready.put(None)


def _store(worker: Worker, writer: Backend, ready: _Queue, room: _Room) -> None:
    over = False

    def jobs(first: Job[Source]) -> Iterator[Job[Source]]:
        nonlocal over
        job: Job[Source] | None = first
        while job is not None:
            if worker.paused:  # as for what has not begun at all
                job.end.close()
                room.give(job.end.size or 0)
                worker.put_back(job)
            else:
                yield job
            try:
                job = ready.next()
            except IndexError:
                return
        over = True

    while not over:
        first = ready.get()
        if first is None:
            return
        for job in writer.put(jobs(first)):
            finish_put(worker, job)
            _blame(job.error, "destination")
            room.give(job.end.size or 0)
            worker.over(job, sent(job), job.digest)


def pipe(worker: Worker) -> None:
    """Large files, one at a time for each worker."""
    reader, writer = borrow_backends(worker)
    pumps: list[_Thread] = []

    def prepare(task: Task) -> Job[Source]:
        through = Pipe(_name(task), task.required, worker.control, worker.runtime.condition())
        fetch: Job[Sink] = Job(_name(task), task.destination.path, task.required, through.sink, task)
        fetch.type = task.destination.type
        pumps.append(_Thread(worker.runtime, lambda: _pump(worker, reader, fetch, through)))
        pumps[-1].start()
        through.wait_for_size()
        return Job(task.destination.path, "", task.required, through.source, task)

    for waiting in worker.jobs(prepare):
        if worker.paused:  # one of its hosts, since the reading began
            waiting.end.close()
            pumps.pop().join()
            worker.put_back(waiting)
            continue
        try:
            for job in writer.put(iter([waiting])):
                finish_put(worker, job)
                _blame(job.error, "destination")
                if job.error is not None and job.error.side == "destination":  # known before the reading ends
                    worker.trouble(job.error, job.task.began)
                pumps.pop().join()  # while the job counts as under way, and so is watched
                worker.over(job, sent(job), job.digest)
        except BaseException:
            waiting.end.close()
            reader.close()
            while pumps:
                pumps.pop().join()
            raise


def _pump(worker: Worker, reader: Backend, fetch: Job[Sink], through: Pipe) -> None:
    began = fetch.task.began
    try:
        for job in reader.get(iter([fetch])):
            if job.error is not None:
                _blame(job.error, "source")
                worker.trouble(job.error, began)  # the writing side may fail for a reason of its own
                through.fail(job.error)
            finish_get(job)  # what its commit finds wrong, the pipe hears of by itself
    except TransferError as error:
        _blame(error, "source")
        through.fail(error)
    except BaseException as error:  # noqa: BLE001  must reach the other end of the pipe
        through.fail(translate(error, side="source"))


def _blame(error: TransferError | None, side: Side) -> None:
    """Says which end failed, where the backend that raised it could not know which one it was."""
    if error is not None and not isinstance(error, Corrupted):
        error.side = error.side or side


class _Thread:
    """A thread that keeps what it raised."""

    def __init__(self, runtime: Runtime, work: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._work = work
        self._thread = runtime.thread(self._run, "relay")
        self.start = self._thread.start
        self.join = self._thread.join

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            self.error = error
