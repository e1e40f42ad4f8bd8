"""One function a verb: how a worker moves its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from pegasus_toolkit.transfer.engine.finish import borrow_backends, finish_get, finish_put, sent
from pegasus_toolkit.transfer.engine.tasks import Task
from pegasus_toolkit.transfer.engine.worker import Worker
from pegasus_toolkit.transfer.errors import Corrupted, NotFound, ServerFault, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Copies, Job, Links, Passive, Renames, Sink, Source


def _source_path(task: Task) -> str:
    assert task.source is not None
    return task.source.path


def _bare(task: Task) -> Job[None]:
    return Job(_source_path(task), task.destination.path, task.required, None, task)


def get(worker: Worker) -> None:
    """Remote to local."""
    reader, writer = borrow_backends(worker)
    assert isinstance(writer, Passive)
    sink = writer.sink

    def prepare(task: Task) -> Job[Sink]:
        path = task.destination.path
        job = Job(_source_path(task), path, task.required, sink(path, task.required, worker.control), task)
        job.type = task.destination.type or task.source.type if task.source is not None else ""
        return job

    for job in reader.get(worker.jobs(prepare)):
        digest = finish_get(job)
        worker.over(job, job.end.size, digest)


def put(worker: Worker) -> None:
    """Local to remote."""
    reader, writer = borrow_backends(worker)
    assert isinstance(reader, Passive)
    source = reader.source

    def prepare(task: Task) -> Job[Source]:
        end = source(_source_path(task), task.required, worker.control)
        expected, size = task.required.size, end.size
        if expected is not None and size is not None and size != expected:
            end.close()
            raise Corrupted(f"{size} bytes there, {expected} expected", url=_source_path(task), side="source")
        if task.required.algorithm and not writer.abilities.streams:
            for _ in end:  # a native tool reads the file by itself, unseen: verify it before
                pass
        return Job(task.destination.path, "", task.required, end, task)

    for job in writer.put(worker.jobs(prepare)):
        finish_put(worker, job)
        worker.over(job, sent(job), job.digest)


def copy(worker: Worker) -> None:
    """The storage, or the fused local loop, moves the bytes."""
    reader, writer = borrow_backends(worker)
    assert isinstance(reader, Copies)
    for job in reader.copy(worker.jobs(_bare), writer, worker.control):
        if job.error is None and job.required.remote and not job.proven:
            text = "copied, but what the storage holds now was not proven"
            job.error = ServerFault(text, url=job.destination, side="destination")
        worker.over(job, job.size, job.digest)


def link(worker: Worker) -> None:
    """A symbolic link instead of a copy."""
    reader, _ = borrow_backends(worker)
    assert isinstance(reader, Links)
    verify = worker.lane.key.flags[0]
    for job in reader.link(worker.jobs(_bare), worker.control, verify):
        worker.over(job, 0, job.digest)


def rename(worker: Worker) -> None:
    """A move instead of a copy."""
    reader, _ = borrow_backends(worker)
    assert isinstance(reader, Renames)
    for job in reader.rename(worker.jobs(_bare), worker.control):
        worker.over(job, job.size, job.digest)


def _target(task: Task) -> Job[None]:
    return Job(task.destination.path, "", task.required, None, task)


def mkdir(worker: Worker) -> None:
    """Directories and buckets, one by one."""
    backend = worker.lend(worker.lane.key.destination)
    for job in worker.jobs(_target):
        try:
            backend.mkdir(job.path)
        except TransferError as error:
            job.error = error
        except OSError as error:
            job.error = from_oserror(error, url=job.path)
        worker.over(job, 0, "")


def remove(worker: Worker) -> None:
    """Files, or with ``recursive`` all that is below a path."""
    backend = worker.lend(worker.lane.key.destination)
    jobs: dict[str, list[Job[None]]] = {}

    def paths() -> Iterator[str]:
        for job in worker.jobs(_target):
            jobs.setdefault(job.path, []).append(job)
            yield job.path

    for path, error in backend.remove(paths(), worker.lane.route.verb == "remove-tree"):
        waiting = jobs[path]
        job = waiting.pop()
        if not waiting:
            del jobs[path]
        job.error = None if isinstance(error, NotFound) else error
        worker.over(job, 0, "")


def _later(module: str, name: str) -> Callable[[Worker], Any]:
    """A verb whose module is imported when it is first used: most runs need none of them."""

    def run(worker: Worker) -> None:
        getattr(import_module(f"{__package__}.{module}"), name)(worker)

    return run


MOVERS: dict[str, Callable[[Worker], Any]] = {
    "get": get,
    "put": put,
    "copy": copy,
    "link": link,
    "move": rename,
    "relay": _later("relay", "relay"),
    "pipe": _later("relay", "pipe"),
    "staged": _later("relay", "staged"),
    "mkdir": mkdir,
    "remove": remove,
    "remove-tree": remove,
    "list": _later("directories", "list_trees"),
}


def move(worker: Worker) -> None:
    """Runs the worker's batch by its lane's verb."""
    MOVERS[worker.lane.route.verb](worker)
