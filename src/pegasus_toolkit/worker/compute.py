"""A compute node: its files fetched and verified, its programs run, what they made digested and brought."""

# pathlib would cost start-up time
# ruff: noqa: PTH101, PTH102, PTH103, PTH105, PTH106, PTH108, PTH112, PTH116, PTH120, PTH114

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.integrity.meta import Expected
from pegasus_toolkit.planner.model import Input, Output
from pegasus_toolkit.records import Failure
from pegasus_toolkit.worker import checkpoints, machine, tasks
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.record import FileRecord
from pegasus_toolkit.worker.work import Work

_PLACES = ("PEGASUS_WN_TMP", "_CONDOR_SCRATCH_DIR", "OSG_WN_TMP")


def run(work: Work) -> None:
    """All of it. Raises :class:`Failed`."""
    with _directory(work) as directory:
        outbox = _outbox(work)
        work.record.phase = "fetch"
        _check_names(work)
        restored = checkpoints.restore(work, directory)
        if restored:  # further than what it was given to begin with
            left = tuple(one for one in work.node.inputs if one.lfn not in restored)
            work.node = replace(work.node, inputs=left)
        expected = {one.lfn: _expected(work, one) for one in work.node.inputs}
        _fetch(work, directory, expected)
        work.record.phase = "verify"
        _verify(work, directory, expected)
        try:
            _run(work, directory, outbox)
        except BaseException:
            work.stop.hold()
            checkpoints.save(work, directory, outbox)
            raise
        checkpoints.clear(work)


def _run(work: Work, directory: str, outbox: str) -> None:
    work.record.phase = "run"
    for one in work.node.outputs:
        _parents(directory, one.lfn)
    for task in work.node.tasks:
        tasks.run(work, task, directory)
    work.record.phase = "digest"
    _deliver(work, directory, outbox)


@contextlib.contextmanager
def _directory(work: Work) -> Iterator[str]:
    """Where the programs run: the node's own place that stays, or a fresh one that does not."""
    if work.node.directory:
        if not os.path.isdir(work.node.directory):
            path = work.node.directory
            raise Failed(
                f"the directory {path} is not there {machine.here(work, path)}", EXIT_RETRY, "machine"
            )
        yield work.node.directory
        return
    environ = work.environ
    places = [environ[name] for name in _PLACES if environ.get(name)]
    places += [environ.get("TMPDIR", "/tmp"), "/tmp"] if work.shared else []
    places.append(work.start)
    path = f"{next(one for one in places if os.path.isdir(one))}/pegasus-{os.urandom(6).hex()}"
    os.mkdir(path, 0o700)
    try:
        yield path
    finally:
        work.stop.hold()  # what is left to do is short, and half of it is worse than all
        _remove(path)


def _remove(path: str) -> None:
    """Also what a program has made unreadable for itself."""
    with contextlib.suppress(OSError):
        os.chmod(path, 0o700)
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    _remove(entry.path)
                else:
                    os.unlink(entry.path)
        os.rmdir(path)


def _outbox(work: Work) -> str:
    """The directory that HTCondor takes the outputs from, empty; "" where it takes none."""
    if not work.node.outbox:
        return ""
    path = f"{work.start}/{work.node.outbox}"
    if os.path.lexists(path):  # of an attempt before
        _remove(path)
    os.mkdir(path)
    return path


def _check_names(work: Work) -> None:
    node = work.node
    named = ([one.lfn for one in node.inputs], [one.lfn for one in node.outputs], node.checkpoints)
    for lfn in (lfn for some in named for lfn in some):
        if lfn.startswith("/") or ".." in lfn.split("/") or not lfn or "\0" in lfn:
            raise Failed(
                f"the name {lfn!r} leads out of the directory that the job runs in", EXIT_PERMANENT, "plan"
            )


def _expected(work: Work, one: Input) -> Expected | None:
    """What the input must be; ``None`` where nobody knows. Raises :class:`Failed`."""
    if not work.node.verify:
        return None
    if one.checksum is not None:
        return Expected(one.checksum.type, one.checksum.value, one.size)
    told = work.told(one.lfn)
    if told is None and one.produced:
        work.record.checks.missing += 1
        raise Failed(
            f"no digest of {one.lfn!r}, which a job of this run has made{work.unknown()}",
            EXIT_PERMANENT,
            "no digest",
        )
    return told


def _fetch(work: Work, directory: str, expected: dict[str, Expected | None]) -> None:
    """Gets the inputs that are elsewhere; the engine verifies them on the way."""
    node = work.node
    wanted = [
        one for one in node.inputs if one.sources or (one.delivered and not _linked(work, one, directory))
    ]
    if not wanted:
        return
    from pegasus_toolkit.transfer.model import Checksum, Transfer
    from pegasus_toolkit.worker import moves

    operations = []
    for n, one in enumerate(wanted):
        want = expected[one.lfn]
        delivered = (moves.here(f"{work.start}/{one.delivered}", node.site),)
        operations.append(
            Transfer(
                id=n,
                lfn=one.lfn,
                linkage="input",
                sources=tuple(map(moves.place, one.sources)) or delivered,
                destinations=(moves.here(_parents(directory, one.lfn), node.site),),
                checksum=Checksum(want.algorithm, want.digest) if want is not None else None,
                size=want.size if want is not None and want.size is not None else one.size,
            )
        )
    catalogued = {n for n, one in enumerate(wanted) if one.checksum is not None}
    for outcome in moves.run(work, operations, "in", catalogued):
        found = moves.file(wanted[outcome.operation.id].lfn, outcome)
        work.record.inputs.append(found)


def _linked(work: Work, one: Input, directory: str) -> bool:
    """Gives a delivered file its name where the programs run; false where it has to be copied."""
    path = os.path.realpath(f"{work.start}/{one.delivered}")
    try:
        # Other jobs may have it, too (HTCondor's common files): then its mode has to stay as it is.
        if one.executable and os.stat(path).st_nlink > 1:
            return False
        os.link(path, _parents(directory, one.lfn))
    except OSError:
        return False
    return True


def _verify(work: Work, directory: str, expected: dict[str, Expected | None]) -> None:
    """Verifies the inputs that were not copied, and makes executable what has to be."""
    known = {one.lfn for one in work.record.inputs}
    for one in work.node.inputs:
        path = f"{directory}/{one.lfn}"
        if one.lfn not in known:
            _check(work, one, path, expected[one.lfn])
            work.record.bytes_in += os.stat(path).st_size if one.delivered else 0
        if one.executable:
            _executable(path)


def _check(work: Work, one: Input, path: str, want: Expected | None) -> None:
    checks = work.record.checks
    try:
        size = os.stat(path).st_size
        if one.size is not None and size != one.size and work.node.verify:
            checks.made += 1
            checks.failed += 1
            _damaged(work, one)
            raise Failed(f"{one.lfn!r} has {size} bytes, {one.size} expected", _wrong(one), "corrupted")
        if want is None:
            checks.missing += work.node.verify
            work.record.inputs.append(FileRecord(lfn=one.lfn, size=size))
            return
        found = digests.of_file(path, want.algorithm)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            work.record.lost.append(one.lfn)
        text = f"the input {one.lfn!r} cannot be read: {error.strerror}: {path}"
        denied = isinstance(error, PermissionError)
        kind: Failure = "denied" if denied else "not found"
        raise Failed(f"{text} {machine.here(work, path)}", machine.exit_code(work), kind) from None
    checks.made += 1
    record = FileRecord(lfn=one.lfn, size=found.size, algorithm=want.algorithm, digest=found.digest)
    work.record.inputs.append(record)
    if found.digest != want.digest or want.size not in (None, found.size):
        checks.failed += 1
        _damaged(work, one)
        text = f"{want.algorithm} is {found.digest}, expected {want.digest} ({found.size} bytes)"
        raise Failed(f"{one.lfn!r} is not what it should be: {text}: {path}", _wrong(one), "corrupted")


def _damaged(work: Work, one: Input) -> None:
    if one.checksum is None:
        work.record.damaged.append(one.lfn)


def _wrong(one: Input) -> int:
    """What a catalog says of a file stays wrong; what this run made may be read right another time."""
    return EXIT_PERMANENT if one.checksum is not None else EXIT_RETRY


def _executable(path: str) -> None:
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & 0o100 == 0:
        os.chmod(path, mode | 0o100 | (mode & 0o044) >> 2)


def _parents(directory: str, lfn: str) -> str:
    """The path of a file, its directories made."""
    path = f"{directory}/{lfn}"
    if "/" in lfn:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def _deliver(work: Work, directory: str, outbox: str) -> None:
    """Checks that all outputs are there, digests them, and brings or lays out those that others need."""
    outputs = [one for one in work.node.outputs if not _left_out(directory, one)]
    sizes = {one.lfn: _size(directory, one) for one in outputs}
    kept = [one for one in outputs if not one.destinations]
    given = [one for one in outputs if one.destinations]
    laid = [one for one in given if outbox and _laid(directory, one, outbox)]
    for one, place in [(one, directory) for one in kept] + [(one, outbox) for one in laid]:
        _digested(work, one, f"{place}/{one.lfn}", sizes[one.lfn])
    work.record.bytes_out += sum(sizes[one.lfn] for one in laid)
    work.record.phase = "push"
    if left := [one for one in given if one not in laid]:
        _push(work, directory, left, outbox)


def _left_out(directory: str, one: Output) -> bool:
    return one.optional and not os.path.lexists(f"{directory}/{one.lfn}")


def _laid(directory: str, one: Output, outbox: str) -> bool:
    """Moves an output into the outbox; false where it has to be copied."""
    path = f"{directory}/{one.lfn}"
    try:
        inside = os.path.realpath(os.path.dirname(path)) + "/"
        if os.path.islink(path) or not inside.startswith(os.path.realpath(directory) + "/"):
            return False  # what a link means may be gone before it is carried, or not be the job's to move
        os.replace(path, _parents(outbox, one.lfn))
    except OSError:
        return False
    return True


def _digested(work: Work, one: Output, path: str, size: int) -> None:
    found = FileRecord(lfn=one.lfn, size=size)
    if work.algorithm:
        taken = digests.of_file(path, work.algorithm)
        found = FileRecord(lfn=one.lfn, size=taken.size, algorithm=work.algorithm, digest=taken.digest)
    _made(work, found)


def _size(directory: str, one: Output) -> int:
    path = f"{directory}/{one.lfn}"
    try:
        status = os.stat(path)
    except OSError:
        raise Failed(f"the program did not make {one.lfn!r}", EXIT_RETRY, "no output") from None
    if not stat.S_ISREG(status.st_mode):
        raise Failed(f"the output {one.lfn!r} is not a regular file", EXIT_RETRY, "no output")
    return status.st_size


def _push(work: Work, directory: str, outputs: Sequence[Output], outbox: str) -> None:
    """Brings them to their destinations, or into the outbox; the engine takes the digests on the way."""
    from pegasus_toolkit.transfer.model import Transfer
    from pegasus_toolkit.worker import moves

    site = work.node.site
    operations = [
        Transfer(
            id=n,
            lfn=one.lfn,
            linkage="output",
            sources=(moves.here(f"{directory}/{one.lfn}", site),),
            destinations=(moves.here(_parents(outbox, one.lfn), site),)
            if outbox
            else tuple(map(moves.place, one.destinations)),
            generate_checksum=work.node.verify,
        )
        for n, one in enumerate(outputs)
    ]
    for outcome in moves.run(work, operations, "out"):
        found = moves.file(outputs[outcome.operation.id].lfn, outcome)
        if not outbox:
            found.destinations = (moves.told(outcome.attempts[-1].destination),)
        _made(work, found)


def _made(work: Work, found: FileRecord) -> None:
    work.record.outputs.append(found)
    work.meta[found.lfn] = Expected(found.algorithm, found.digest, found.size)
