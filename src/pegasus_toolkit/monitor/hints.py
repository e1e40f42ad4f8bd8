"""What to try after a failure, by its kind. Each hint is a sentence for whoever has to mend it.

Kinds are those of records (``records.Failure``). What a program or HTCondor said in its own words is
read for what only it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

# Beside the kinds of records: of attempts that left none, as DAGMan's numbers tell.
NO_RECORD, NOT_SUBMITTED, REMOVED, PRE_SCRIPT, NEVER = (
    "no record",
    "not submitted",
    "removed",
    "PRE script",
    "never",
)
_PROGRAMS = ("program", "signal", "walltime", "checkpoint", "not started", "container", "job")


class Cause(NamedTuple):
    """What is known of a failed attempt. ``kind``: why it failed; ``job``: of a job that other programs
    planned, and that left no record. ``said``: by the program and by HTCondor, in their own words.

    ``status``: of the program, or of the job where no program ran; negative for a signal. ``memory``: the
    most that the program had, in bytes. ``job_file``: what ``pegasus-transfer -f`` repeats by hand, or "".
    """

    kind: str
    said: str
    status: int | None
    memory: int
    job_file: str
    directory: str


_MEMORY = re.compile(
    r"memoryerror|bad_alloc|cannot allocate memory|out of memory|oom.kill|memory (?:usage|limit) exceed", re.I
)
_TIME = re.compile(r"time limit|cpu time exceeded", re.I)
_SPACE = re.compile(r"no space left|disk quota|disk full", re.I)
_MODULE = re.compile(r"ModuleNotFoundError: No module named '?([\w.]+)")
_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|version [`']?(GLIBC\w*_[\d.]+)")
_CARRIED = re.compile(
    r"\(code 1[23]\)|transfer (?:input|output) files?|transfer (?:input|output) failure", re.I
)


def hints(cause: Cause) -> list[str]:
    """What fits, the most likely first; at least one."""
    found = list(dict.fromkeys(_found(cause)))
    if not found and cause.kind not in _PROGRAMS:
        found.append("see above why, and look at the file, directory or server that it names")
    elif not found:
        found.append("read the output below; run the program by hand with the arguments shown")
    if cause.job_file:
        found.append(f"to repeat it by hand: pegasus-transfer -f {cause.job_file}")
    return found


def _found(cause: Cause) -> Iterator[str]:
    if _CARRIED.search(cause.said) and cause.kind in (REMOVED, NO_RECORD):
        yield "HTCondor could not carry a file: see the reason above for which, and whether it is there"
    elif cause.kind == NO_RECORD and cause.status in (126, 127):
        yield "pegasus-worker could not be started there: is a Python of 3.10 or later on that machine?"
    elif cause.kind in _WITHOUT:
        yield _WITHOUT[cause.kind].format(directory=cause.directory)
    elif cause.kind in _OF_FILES:
        yield _OF_FILES[cause.kind].format(directory=cause.directory)
    if cause.kind in _PROGRAMS:
        yield from _program(cause)
    if cause.kind == "no space" or _SPACE.search(cause.said):
        yield "a disk is full: make room there, or ask for more with the profile pegasus.diskspace"


_WITHOUT = {
    REMOVED: "the job was removed: by hand, by its hold (see the reason), or with the whole run",
    NOT_SUBMITTED: "HTCondor refused the job: the end of {directory}/*.dagman.out says why",
    PRE_SCRIPT: "its PRE script failed: see {directory}/*.dagman.out and run the script by hand",
    NEVER: "it was never submitted",
    NO_RECORD: (
        "the job ended without a record: killed from outside (memory, time, a machine that went down),"
        " or its files could not be brought back; see the log file"
    ),
    "killed": (
        "the worker was killed before it could tell: memory, time, or the machine went down; see the log"
    ),
    "stopped": "the worker was told to end, by a signal: with the run, or by the machine that it was on",
}
_ABSENT = (
    "the file is not at that place: check the replica catalog; a file that a job made may have been"
    " removed from the scratch directory: pegasus-run --remake {directory} makes it anew"
)
_REACH = "the server could not be reached, or failed: when it is up again, run again"
_OF_FILES = {
    "no output": "the program ended well but left not all outputs: compare its arguments with them",
    "corrupted": (
        "the file differs from what is expected: if it is one of yours and was changed on purpose, mend"
        " its checksum in the replica catalog and plan again, else restore it; if a job of this run"
        " made it, something changed it since: pegasus-run --remake {directory} makes it anew"
    ),
    "denied": (
        "no right to it: check the site's entry in the credentials file, that tokens and proxies are not"
        " expired, and the file's own permissions"
    ),
    "not found": _ABSENT,
    **dict.fromkeys(("unreachable", "timed out", "throttled", "server fault"), _REACH),
    "defect": "this is a defect of pegasus-toolkit: please report it, with the job's error output",
}


def _program(cause: Cause) -> Iterator[str]:
    """The program itself failed, or could not be started."""
    late = cause.kind == "walltime" or _TIME.search(cause.said) or cause.status in (-24, 152)
    if (cause.status in (-9, 137) and not late) or _MEMORY.search(cause.said):
        had = f" (it had {cause.memory / 2**20:.0f} MiB)" if cause.memory else ""
        yield f"it ran out of memory, or was killed{had}: ask for more with the profile pegasus.memory"
    if late:
        yield "its time was over: give it more with the profile pegasus.maxwalltime (minutes)"
    if cause.kind == "checkpoint":
        yield "it has no attempt left to go on from its checkpoint: allow more with the profile dagman.retry"
    if cause.kind == "container":
        yield (
            "is the container's program (docker, podman, singularity or apptainer) installed where the job"
            " ran, and can its image be had there? Try to start it there by hand"
        )
    if module := _MODULE.search(cause.said):
        yield f"Python's module {module[1]} is not installed where it ran: install it, or use a container"
    if library := _LIBRARY.search(cause.said):
        name = library[1] or library[2]
        yield f"{name} is not on that machine: build for it, or use a container"
    if cause.status in (126, 127) or cause.kind == "not started":
        yield (
            "the program is not there or cannot be started: check its path (pfn), type (stageable, installed)"
            " and architecture in the transformation catalog"
        )
    if cause.status in (-11, -6, -7, -4, 134, 139):
        yield "the program crashed: run it by hand with these arguments and inputs, under a debugger"
