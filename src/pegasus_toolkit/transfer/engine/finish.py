"""What happens to a job when its backend is done with it: commit, close, prove."""

from __future__ import annotations

from contextlib import suppress

from pegasus_toolkit.transfer.engine.worker import Worker
from pegasus_toolkit.transfer.errors import TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Inspects, Job, Sink, Source
from pegasus_toolkit.transfer.streams.checked import NullSink, mismatch


def borrow_backends(worker: Worker) -> tuple[Backend, Backend]:
    """The backends of the lane's source and destination, for this batch."""
    key = worker.lane.key
    assert key.source is not None
    return worker.lend(key.source), worker.lend(key.destination)


def finish_get(job: Job[Sink]) -> str:
    """Commits what came, or drops it; the digest. An error of the commit becomes the job's."""
    if job.error is None:
        try:
            digest = job.end.commit()
            job.stored = job.end.stored
            job.proven = "read back" in job.stored
            return digest
        except TransferError as error:
            job.error = error
        except OSError as error:
            job.error = from_oserror(error, side="destination")
    job.end.abort()
    return ""


def finish_put(worker: Worker, job: Job[Source]) -> None:
    """Closes the source and, where it is wanted and not proven yet, checks what the server stored."""
    job.digest = job.end.digest or job.digest
    job.end.close()
    if job.error is None and job.required.remote and not job.proven:
        try:
            prove(worker, worker.lane.key.destination, job)
        except TransferError as error:
            job.error = error


def sent(job: Job[Source]) -> int:
    """Bytes that the destination surely has: how many of them came before an error, nobody knows."""
    return (job.end.size or 0) if job.error is None else 0


def prove(worker: Worker, endpoint: Endpoint, job: Job[Source]) -> None:
    """Asks the server for its own digest of what it stored, else reads it back.

    What turns out wrong, or cannot be proven, is removed. Raises ``Corrupted``. Needs a connection of
    its own, since the batch is still under way on the other.
    """
    backend = worker.lend(endpoint, 1)
    digest, algorithm = job.digest, job.required.algorithm
    found = ""
    try:
        if isinstance(backend, Inspects):
            entry = backend.inspect(job.path, algorithm)
            if entry.digest is not None and entry.digest[0] == algorithm:
                found = entry.digest[1]
        job.stored += ("digest" if found else "read back",)
        if not found:
            found = read_back(backend, worker, job)
        if found != digest:
            raise mismatch(job.path, f"{algorithm} of what the server stored", digest, found)
    except TransferError as error:
        error.side = "destination"
        with suppress(TransferError, OSError):
            for _ in backend.remove([job.path]):
                pass
        raise
    job.proven = True


def read_back(backend: Backend, worker: Worker, job: Job[Source]) -> str:
    """The digest of what the destination gives when it is read."""
    required = job.required._replace(digest="", also=(), remote=False, size=job.end.size)
    sink = NullSink(job.path, required, worker.control)
    for back in backend.get(iter([Job[Sink](job.path, "", required, sink)])):
        if back.error is not None:
            raise back.error
    return sink.commit()
