"""What a node leaves of its work: its record, and the line that is noted of each attempt. The keys:
docs/planner/records.md. Worker and monitor both take them from here.
"""

from __future__ import annotations

import time
from typing import Literal

from msgspec import Struct, field

VERSION = 1


Failure = Literal[
    "",
    # of programs
    "program",  # it said that it failed: exit code, or a text
    "signal",
    "walltime",
    "checkpoint",  # it was ended to go on from its checkpoint
    "not started",
    "container",
    "no output",
    # of files, as errors of transfers are told
    "not found",
    "denied",
    "corrupted",
    "no digest",
    "no space",
    "unreachable",
    "timed out",
    "throttled",
    "server fault",
    "resource limit",
    "bad specification",
    "unsupported",
    "is a directory",
    "cannot copy",
    "cancelled",
    "transient",
    "permanent",
    "error",
    # of the node itself
    "plan",  # what the worker was told cannot be followed
    "machine",
    "stopped",
    "incomplete",  # the run as a whole
    "defect",
    "killed",  # it was ended before it could tell
]
"""Why a node failed; "" if it did not."""


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
    failure: str = ""


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

    ``failure``: why, by kind. ``damaged``: LFNs of files that differ from what this run made; ``lost``: of
    those that were not there.
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
    failure: Failure = ""
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


class Attempt(Struct, kw_only=True, omit_defaults=True):
    """One line of ``provenance.jsonl``. ``returned``: as DAGMan tells how the job ended."""

    node: str
    at: float
    returned: int | None = field(default=None, name="return")
    verdict: int | None = None
    why: str = ""
    attempt: int = 0
    record: Record | None = None
