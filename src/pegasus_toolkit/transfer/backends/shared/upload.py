"""One file's way to a server: written aside, its size compared, proven, then made visible under its name."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

from pegasus_toolkit.integrity import digests
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
    Corrupted,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import Control, Job, Source
from pegasus_toolkit.transfer.streams.checked import NullSink, mismatch


def upload(files: Files, job: Job[Source]) -> Steps[None]:
    """All of it, from reading the source to the file's name."""
    files.check(job.path)
    plain, _ = files.split(job.path)
    if not plain or plain.endswith("/"):
        raise IsDirectory("names a directory", url=files.url(job.path), side="destination")
    try:
        sending = files.sending(job)
    except OSError as error:
        raise from_oserror(error, url=files.url(job.path), side="source") from error
    try:
        if not files.traits.greeted and not sending.repeatable:
            yield from greeted(files, job.path)
        yield from store(files, sending)
    finally:
        sending.close()


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


def store(files: Files, sending: Sending) -> Steps[None]:
    """Aside and renamed; under its own name where the server cannot rename."""
    job = sending.job
    if files.traits.renames:
        try:
            yield from store_aside(files, sending)
            return
        except CannotRename:
            files.traits.renames = False
            if not sending.rewind():
                raise
    if not files.traits.warned:
        files.traits.warned = True
        files.warn(
            f"{files.url(job.path)}: the server cannot rename, so files are sent there under their own "
            "names: an upload that fails leaves a part of the file, in place of an older one"
        )
    stored = yield from written(files, sending, job.path)
    yield from prove(files, sending, stored, job.path)


def store_aside(files: Files, sending: Sending) -> Steps[None]:
    """Nothing is seen before it is whole and proven; nothing stays aside."""
    job, traits = sending.job, files.traits
    name, answered = files.aside(job.path, traits.naming), False
    try:
        try:
            files.noted(job.path, name)
            stored = yield from written(files, sending, name)
        except TransferError as refused:
            other = traits.naming + 1
            if not may(refused, "name") or other >= len(NAMINGS) or not sending.rewind():
                raise
            yield from forget(files, name, busy=False)
            name = files.aside(job.path, other)
            files.noted(job.path, name)
            stored = yield from written(files, sending, name)
            traits.naming = max(traits.naming, other)
        answered = True
        yield from prove(files, sending, stored, name)
        yield from publish(files, name, job.path)
    except TransferError as error:
        answered = answered or bool(error.perhaps)
        gone = yield from to_the_end(forget(files, name, busy=False))
        if not answered and not gone:  # the server may still be busy with a write that was broken off
            yield Spawn(to_the_end(forget(files, name, busy=True)))
        raise


def written(files: Files, sending: Sending, name: str) -> Steps[Stored]:
    """Its directory is made where that seems to be missing; beforehand for what cannot be sent twice."""
    traits, folder = files.traits, parent(files.split(name)[0])
    tried = False
    if folder and folder not in traits.known:
        if not sending.repeatable and not traits.asks_first:
            tried = True
            with suppress(TransferError):  # whether it is there is seen by the write
                yield from make_parents(files, folder, sending.job.path)
        elif traits.missed:
            traits.known.add(folder)
            yield Spawn(make_parents(files, folder, sending.job.path))
    try:
        stored = yield from files.write(sending, name)
    except TransferError as refused:
        if tried or not folder or not may(refused, "parent") or not sending.rewind():
            raise
        traits.missed = True
        try:
            yield from make_parents(files, folder, sending.job.path)
        except TransferError as error:
            raise perhaps(error, "parent") from None
        stored = yield from files.write(sending, name)
    traits.known.add(folder)
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
    if job.proven or not job.required.remote:
        return
    algorithm, expected = job.required.algorithm, job.end.digest
    found = yield from files.digest(name, algorithm)
    job.stored += ("digest" if found else "read back",)
    if not found:
        found = yield from read_back(files, job, name)
    if found != expected:
        wrong = mismatch(files.url(job.path), f"{algorithm} of what the server stored", expected, found)
        wrong.side = "destination"
        raise wrong
    job.proven = True


def read_back(files: Files, job: Job[Source], name: str) -> Steps[str]:
    """The digest of what the server gives when it is read."""
    required = job.required._replace(digest="", also=(), remote=False, size=None)
    digests.new(required.algorithm)
    sink = NullSink(files.url(job.path), required, Control())
    try:
        yield from files.read(name, sink)
    except TransferError as error:
        error.side = "destination"
        raise
    return sink.commit()


def publish(files: Files, name: str, path: str) -> Steps[None]:
    """Over what stands there; else plainly; else with the old file set aside, and back on failure."""
    traits = files.traits
    refused: TransferError | None = None
    for replace in (True, False) if traits.replaces is not False else (False,):
        try:
            yield from files.rename(name, path, replace)
            return
        except CannotRename:
            if not replace or not traits.renames:
                raise
            traits.replaces = False
        except TransferError as error:
            if not may(error, "exists"):
                raise
            refused = error
            break
    assert refused is not None
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


def forget(files: Files, name: str, *, busy: bool) -> Generator[Any, Any, bool]:
    """Removes what stands aside; whether something was there.

    ``busy``: the server may still be at a write that was broken off, so what is not there yet is looked
    for again, and what was removed once more.
    """
    removed = False
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
