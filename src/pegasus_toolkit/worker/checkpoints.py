"""Checkpoint files: kept when a node fails or is told to end, verified and brought back at its next attempt.

They travel as one file beside the node's record, ``NAME.checkpoint``: the contents one after the other,
JSON that tells names, sizes and digests, and the length of that JSON. Empty: there is no checkpoint.
"""

# pathlib would cost start-up time
# ruff: noqa: PTH105, PTH108, PTH113, PTH123

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from typing import IO

import msgspec
from msgspec import Struct

from pegasus_toolkit.integrity import digests
from pegasus_toolkit.worker.record import FileRecord
from pegasus_toolkit.worker.work import Work

_BLOCK = 1 << 20
_LENGTH = 12  # digits


class _Kept(Struct):
    lfn: str
    size: int
    digest: str


class _Broken(Exception):
    """The archive is not what was written."""


def restore(work: Work, directory: str) -> set[str]:
    """Puts what the last attempt left where the program will look for it; the LFNs of files that are settled.

    In a directory that stays, a file that an attempt has left without a word is removed: nobody knows whether
    it is whole.
    """
    if not work.node.checkpoints:
        return set()
    gone = set()
    if work.node.directory:
        gone = {lfn for lfn in work.node.checkpoints if _forgotten(work, f"{directory}/{lfn}", lfn)}
    path = _archive(work)
    try:
        with open(path, "rb") as stream:
            kept = _contents(stream)
            for one in kept:
                _unpack(stream, one, f"{directory}/{one.lfn}")
    except FileNotFoundError:
        return gone
    except _Broken as broken:
        work.record.checks.made += 1
        work.record.checks.failed += 1
        print(f"pegasus-worker: {path}: {broken}; the program begins without it", file=sys.stderr)
        return gone
    work.record.checks.made += len(kept)
    for one in kept:
        work.record.inputs.append(
            FileRecord(lfn=one.lfn, size=one.size, algorithm="sha256", digest=one.digest)
        )
    return gone | {one.lfn for one in kept}


def save(work: Work, *directories: str) -> None:
    """Keeps what is there for the next attempt; where nothing is, there is nothing to go on from."""
    paths: dict[str, str] = {}
    for lfn in work.node.checkpoints:
        found = (f"{directory}/{lfn}" for directory in directories if directory)
        if path := next(filter(os.path.isfile, found), ""):
            paths[lfn] = path
    if not paths:
        clear(work)
        return
    aside = f"{_archive(work)}.part"
    try:
        with open(aside, "wb") as stream:
            kept = [_pack(stream, lfn, path) for lfn, path in paths.items()]
            line = msgspec.json.encode(kept)
            stream.write(line + f"{len(line):0{_LENGTH}}".encode())
        os.replace(aside, _archive(work))
    except OSError as error:  # the older one stays; why the node failed is what counts
        _remove(aside)
        print(f"pegasus-worker: the checkpoint cannot be kept: {error}", file=sys.stderr)


def clear(work: Work) -> None:
    """There is nothing to go on from."""
    if work.node.checkpoints:
        open(_archive(work), "wb").close()


def _archive(work: Work) -> str:
    return f"{work.start}/{work.node.node}.checkpoint"


def _forgotten(work: Work, path: str, lfn: str) -> bool:
    """Removes a leftover, unless it is what the node was given to begin with; whether it is gone."""
    given = next((one for one in work.node.inputs if one.lfn == lfn), None)
    if given is not None and os.path.isfile(path):
        told = given.checksum.value if given.checksum else ""
        if not told and work.node.verify:
            expected = work.told(lfn)
            told = expected.digest if expected else ""
        if not told or digests.of_file(path, "sha256").digest == told:
            return False
    _remove(path)
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _contents(stream: IO[bytes]) -> list[_Kept]:
    """What is in the archive; the stream is at its beginning afterwards. Raises :class:`_Broken`."""
    size = stream.seek(0, os.SEEK_END)
    if not size:
        return []
    stream.seek(max(size - _LENGTH, 0))
    length = stream.read(_LENGTH)
    at = size - _LENGTH - int(length) if length.isdigit() else -1
    if at < 0:
        raise _Broken("the checkpoint is cut short")
    stream.seek(at)
    try:
        kept = msgspec.json.decode(stream.read(int(length)), type=list[_Kept])
    except msgspec.DecodeError as error:
        raise _Broken(f"the checkpoint is damaged: {error}") from None
    if sum(one.size for one in kept) != at:
        raise _Broken("the checkpoint has not the size that it tells")
    stream.seek(0)
    return kept


def _pack(stream: IO[bytes], lfn: str, path: str) -> _Kept:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as source:
        while block := source.read(_BLOCK):
            digest.update(block)
            size += stream.write(block)
    return _Kept(lfn, size, digest.hexdigest())


def _unpack(stream: IO[bytes], one: _Kept, path: str) -> None:
    digest, left = hashlib.sha256(), one.size
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    with open(path, "wb") as target:
        while left and (block := stream.read(min(left, _BLOCK))):
            digest.update(block)
            left -= target.write(block)
    if digest.hexdigest() != one.digest:
        _remove(path)
        raise _Broken(f"the checkpoint {one.lfn!r} is not what was kept: another digest")
