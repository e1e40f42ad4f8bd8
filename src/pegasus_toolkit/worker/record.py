"""The record of one node's work, and how it reaches the disk. The keys: docs/planner/records.md."""

from __future__ import annotations

import os
import time

import msgspec
from msgspec import Struct, field

from pegasus_toolkit.integrity import regular

VERSION = 1


class TaskRecord(Struct, kw_only=True, omit_defaults=True):
    """One program that was run. Times in seconds, ``max_rss`` in bytes; ``exit`` or ``signal``, not both."""

    id: str
    transformation: str
    program: str
    arguments: tuple[str, ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    exit: int | None = None
    signal: int | None = None
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    max_rss: int = 0
    container: str = ""
    stdout: str = ""
    stderr: str = ""


class TransferRecord(Struct, kw_only=True, omit_defaults=True):
    """One file moved, or one directory made or thing removed; URLs without secrets."""

    lfn: str = ""
    kind: str
    source: str = ""
    destination: str
    bytes: int = 0
    seconds: float = 0.0
    route: str = ""
    attempts: int = 0
    verified: tuple[str, ...] = ()
    error: str = ""


class FileRecord(Struct, kw_only=True, omit_defaults=True):
    """A file and what it holds; ``digest`` is "" where none was taken."""

    lfn: str
    size: int | None = None
    algorithm: str = ""
    digest: str = ""
    destinations: tuple[str, ...] = ()


class Checks(Struct, omit_defaults=True):
    """Comparisons with an expected digest: made, failed among them, and not possible for want of one."""

    made: int = 0
    failed: int = 0
    missing: int = 0


class Record(Struct, kw_only=True, omit_defaults=True):
    """What became of a node. ``exit``: 0 done, 1 another try may mend it, 2 none will.

    ``damaged``: LFNs of files that differ from what this run made; ``lost``: those that were not there.
    """

    version: int = field(default_factory=lambda: VERSION)  # a factory's value is never left out
    node: str
    kind: str = ""
    workflow: str = ""
    run: str = ""
    site: str = ""
    host: str = ""
    user: str = ""
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    exit: int = field(default_factory=lambda: 1)
    error: str = ""
    phase: str = ""
    tasks: list[TaskRecord] = []
    transfers: list[TransferRecord] = []
    bytes_in: int = 0
    bytes_out: int = 0
    checks: Checks = field(default_factory=Checks)
    damaged: list[str] = []
    lost: list[str] = []
    inputs: list[FileRecord] = []
    outputs: list[FileRecord] = []
    receipt: dict[str, object] = {}


def new(node: str) -> Record:
    """The record of a node that has just begun, as it stands should nobody come to change it."""
    return Record(
        node=node,
        host=os.uname().nodename,
        user=_user(),
        error="the worker was ended before it could tell what became of the node",
    )


def write(path: str, record: Record) -> None:
    """On one line, whole or not at all. Raises ``OSError``."""
    regular.replace(path, encode(record) + b"\n")


def encode(record: Record) -> bytes:
    """JSON on one line; half surrogates, which names that are not UTF-8 hold, as backslash escapes."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(msgspec.to_builtins(record)))


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, (list, tuple)) else value


def _user() -> str:
    """Who runs it; asking a directory server is left to a last resort."""
    name = os.environ.get("USER") or os.environ.get("LOGNAME")
    if name:
        return name
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
