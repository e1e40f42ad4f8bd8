"""One file's way to a server: written aside, its size compared, proven, then made visible under its name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from pegasus_toolkit.transfer.backends.shared.files import (
    NAMINGS,
    CannotRename,
    Files,
    Sending,
    Stored,
    may,
    parent,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Pause, Spawn, Steps, Wait, to_the_end
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    TimedOut,
    TransferError,
    Unreachable,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Job, Requirement, Source
from pegasus_toolkit.transfer.streams.checked import NullSink, mismatch


def upload(  # noqa: C901, PLR0912  see below
    files: Files, job: Job[Source], sending: Sending | None = None
) -> Steps[None]:
    """All of it, from reading the source to the file's name: written aside, proven, renamed.

    Nothing is seen before it is whole and proven; nothing stays aside. What is usual stands here, in one
    generator, since each further one costs a small file time.
    """
    traits = files.traits
    files.check(job.path)
    plain, _ = files.split(job.path)
    if not plain or plain[-1] == "/":
        raise IsDirectory("names a directory", url=files.url(job.path), side="destination")
    plainly_read = sending is None
    if sending is None:
        try:
            sending = files.sending(job)
        except OSError as error:
            raise from_oserror(error, url=files.url(job.path), side="source") from error
    name, answered = "", False
    try:
        if not traits.greeted and not sending.repeatable:
            yield from greeted(files, job.path)
        if not traits.renames:
            yield from store_in_place(files, sending)
            return
        name = sending.name = files.aside(job.path, traits.naming)
        files.noted(job.path, name)
        folder = plain.rpartition("/")[0]
        tried = bool(folder) and folder not in traits.known and (yield from prepared(files, sending, folder))
        try:
            stored = yield from files.write(sending, name)
        except TransferError as refused:
            stored = yield from another_try(files, sending, "" if tried else folder, refused)
        traits.known.add(folder)
        answered = True
        if stored.size != sending.sent or stored.proven or job.required.remote or not plainly_read:
            yield from prove(files, sending, stored, sending.name)
        else:
            job.stored += ("size",)
        if traits.replaces:
            try:
                yield from files.rename(sending.name, job.path, True)
            except TransferError as refused:
                yield from publish(files, sending.name, job.path, refused)
        else:
            yield from publish(files, sending.name, job.path)
    except TransferError as error:
        if name:
            yield from clean_up(files, sending, answered or bool(error.perhaps), error)
        if not name or not isinstance(error, CannotRename) or not sending.rewind():
            raise
        traits.renames = False
        yield from store_in_place(files, sending)
    finally:
        sending.close()


def store(files: Files, sending: Sending) -> Steps[None]:
    """The same of what is not simply read from ``job.end``."""
    return upload(files, sending.job, sending)


def clean_up(files: Files, sending: Sending, answered: bool, error: TransferError) -> Steps[None]:
    """Nothing stays aside."""
    gone = yield from to_the_end(forget(files, sending.name, busy=False))
    broken_off = isinstance(error, (Cancelled, TimedOut, Unreachable))
    if not answered and (broken_off or not gone):  # the server may still be busy with what was broken off
        yield Spawn(to_the_end(forget(files, sending.name, busy=True, removed=gone)))


def greeted(files: Files, path: str) -> Steps[None]:
    """Asks once for all stories: what cannot be sent twice should not be refused for want of a password."""
    if files.greeting is not None:
        yield files.greeting
        return
    asking = files.greeting = Wait()
    try:
        yield from files.greet(files.aside(path, files.traits.naming))
        files.traits.greeted = True
    finally:
        files.greeting = None
        asking.settle()


def store_in_place(files: Files, sending: Sending) -> Steps[None]:
    """For servers that cannot rename."""
    path = sending.name = sending.job.path
    if not files.traits.warned:
        files.traits.warned = True
        files.warn(
            f"{files.url(path)}: the server cannot rename, so files are sent there under their own "
            "names: an upload that fails leaves a part of the file, in place of an older one"
        )
    folder = parent(files.split(path)[0])
    tried = (
        bool(folder) and folder not in files.traits.known and (yield from prepared(files, sending, folder))
    )
    try:
        stored = yield from files.write(sending, path)
    except TransferError as refused:
        stored = yield from with_parents(files, sending, "" if tried else folder, refused)
    files.traits.known.add(folder)
    yield from prove(files, sending, stored, path)


def prepared(files: Files, sending: Sending, folder: str) -> Steps[bool]:
    """A directory of which nothing is known. It is made beforehand for what cannot be sent twice."""
    traits = files.traits
    if not sending.repeatable and not traits.asks_first:
        with suppress(TransferError):  # whether it is there is seen by the write
            yield from make_parents(files, folder, sending.job.path)
        return True
    if traits.missed:
        traits.known.add(folder)
        yield Spawn(make_parents(files, folder, sending.job.path))
    return False


def with_parents(files: Files, sending: Sending, folder: str, refused: TransferError) -> Steps[Stored]:
    """Once more, where the directory seems to be missing (``folder`` "": it was made). Else raises."""
    if not folder or not may(refused, "parent") or not sending.rewind():
        raise refused
    files.traits.missed = True
    try:
        yield from make_parents(files, folder, sending.job.path)
    except TransferError as error:
        raise perhaps(error, "parent") from None
    return (yield from files.write(sending, sending.name))


def another_try(files: Files, sending: Sending, folder: str, refused: TransferError) -> Steps[Stored]:
    """The same; and under a name of another kind, where the server seems to dislike this one."""
    try:
        return (yield from under_another_name(files, sending, folder, refused))
    except TransferError as error:
        if may(error, "name"):
            hint = "temporary_names in the site's section tells how files are called until they are whole"
            error.hint = f"{error.hint}; {hint}" if error.hint else hint
        raise


def under_another_name(files: Files, sending: Sending, folder: str, refused: TransferError) -> Steps[Stored]:
    """As it says, when parents are there and that was not it."""
    try:
        return (yield from with_parents(files, sending, folder, refused))
    except TransferError as error:
        refused = error
    path, other = sending.job.path, files.traits.naming + 1
    if not may(refused, "name") or other >= len(NAMINGS) or not sending.rewind():
        raise refused
    yield from forget(files, sending.name, busy=False)
    sending.name = files.aside(path, other)
    files.noted(path, sending.name)
    try:
        stored = yield from files.write(sending, sending.name)
    except TransferError as error:
        stored = yield from with_parents(files, sending, folder, error)
    files.traits.naming = max(files.traits.naming, other)
    return stored


def make_parents(files: Files, folder: str, path: str) -> Steps[None]:
    """A directory and those above it; each once, whoever wants it. ``path``: the file's, with its query."""
    making = files.making.get(folder)
    if making is not None:
        yield making
        return
    making = files.making[folder] = Wait()
    wrong: TransferError | None = None
    try:
        yield from _make(files, folder, path)
        files.traits.known.add(folder)
    except TransferError as error:
        wrong = error
        raise
    finally:
        del files.making[folder]
        making.settle(wrong)


def _make(files: Files, folder: str, path: str) -> Steps[None]:
    """A refusal may only mean that somebody else makes the same one: the second answer counts."""
    tail = files.split(path)[1]
    try:
        yield from files.make(folder + tail)
        return
    except NotFound:
        if parent(folder):
            yield from make_parents(files, parent(folder), path)
    except TransferError as error:
        if not error.perhaps:
            raise
    try:
        yield from files.make(folder + tail)
    except NotFound:
        text = "a directory could not be made, though its parent is there"
        raise Denied(text, url=files.url(folder), side="destination") from None


def prove(files: Files, sending: Sending, stored: Stored, name: str) -> Steps[None]:
    """What was stored must be as long as what was sent; and have its digest, where that is demanded.

    The digest is the server's own; else what it stored is read back.
    """
    job = sending.job
    size = stored.size
    if size is not None and size != sending.sent:
        text = f"{size} bytes were stored, {sending.sent} sent"
        raise Corrupted(text, url=files.url(job.path), side="destination")
    if size is not None:
        job.stored += ("size",)
    if stored.proven:
        job.proven = True
    if job.proven:
        return
    for algorithm, expected in sending.demanded():
        found = yield from files.digest(name, algorithm)
        told = "digest" if found else "read back"
        if told not in job.stored:
            job.stored += (told,)
        if not found:
            found = yield from read_back(files, sending, name, algorithm)
        if expected is not None and found != expected:
            text = f"{algorithm} of what the server stored"
            wrong = mismatch(files.url(job.path), text, expected, found)
            wrong.side = sending.side
            raise wrong
        if algorithm == job.required.algorithm:
            job.digest = found
            job.proven = True


def read_back(files: Files, sending: Sending, name: str, algorithm: str) -> Steps[str]:
    """The digest of what the server gives when it is read."""
    required = Requirement(algorithm)
    sink = NullSink(files.url(sending.job.path), required, sending.accounts())
    try:
        yield from files.read(name, sink)
    except TransferError as error:
        error.side = "destination"
        raise
    return sink.commit()


def publish(files: Files, name: str, path: str, refused: TransferError | None = None) -> Steps[None]:
    """Over what stands there; else plainly; else with the old file set aside, and back on failure.

    ``refused``: how the first way went that may be tried, if it was.
    """
    traits = files.traits
    if refused is None:
        try:
            yield from files.rename(name, path, traits.replaces is not False)
            return
        except TransferError as error:
            refused = error
    if isinstance(refused, CannotRename):
        if traits.replaces is False or not traits.renames:
            raise refused
        traits.replaces = False
        yield from publish(files, name, path)
        return
    if not may(refused, "exists"):
        raise refused
    try:
        found = yield from files.stat(path)
    except TransferError:
        raise refused from None
    if found.directory:
        raise IsDirectory("a directory stands there", url=files.url(path), side="destination")
    yield from exchange(files, name, path)


def exchange(files: Files, name: str, path: str) -> Steps[None]:
    """The old file aside, the new one in its place. Until that stands the old one is the only copy there is:
    nothing that sweeps may know its name."""
    old = files.aside(path, files.traits.naming)
    try:
        yield from files.rename(path, old, False)
        yield from files.rename(name, path, False)
    except TransferError:
        yield from to_the_end(put_back(files, old, path))
        raise
    yield from to_the_end(forget(files, old, busy=False))


def put_back(files: Files, old: str, path: str) -> Steps[None]:
    """The file that stood there; where one stands (the new one, whose answer was lost) the old one goes."""
    try:
        yield from files.stat(path)
    except NotFound:
        with suppress(TransferError):
            yield from files.rename(old, path, False)
    except TransferError:  # nobody knows: both stay
        return
    else:
        yield from forget(files, old, busy=False)


def forget(files: Files, name: str, *, busy: bool, removed: bool = False) -> Generator[Any, Any, bool]:
    """Removes what stands aside; whether something was there, now or before (``removed``).

    ``busy``: the server may still be at a write that was broken off, so what is not there yet is looked
    for again, and what was removed once more: some servers make a file and open it in two steps.
    """
    for pause in (0.1, 0.4, 1.0, 2.0) if busy else (0.0, 0.0):  # the second time perhaps over a new client
        if pause:
            yield Pause(pause)
        try:
            yield from files.unlink(name)
            removed = True
        except NotFound:
            if removed:
                break
        except Permanent:
            break
        except TransferError:
            continue
        if not busy:
            break
    return removed
