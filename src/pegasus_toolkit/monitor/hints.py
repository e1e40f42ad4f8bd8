"""What to try after a failure, by its cause. Each hint is a sentence for whoever has to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Cause(NamedTuple):
    """What is known of a failed attempt. ``text``: all that was said of it, in any order.

    ``began``: the worker left a record. ``status``: of the program, or of the job where no program ran;
    negative for a signal. ``memory``: the most that the program had, in bytes. ``job_file``: what
    ``pegasus-transfer -f`` repeats by hand, or "".
    """

    phase: str
    text: str
    began: bool
    removed: bool
    attempts: int
    status: int | None
    memory: int
    job_file: str
    directory: str


_MEMORY = re.compile(
    r"memoryerror|bad_alloc|cannot allocate memory|out of memory|oom.kill|memory (?:usage|limit) exceed", re.I
)
_TIME = re.compile(r"walltime|time limit|cpu time exceeded", re.I)
_DIGEST = re.compile(
    r"is not what it should be|checksum|digest|corrupt|expected [0-9a-f]{16}|bytes, \d+ expected", re.I
)
_DENIED = re.compile(
    r"permission denied|denied|forbidden|unauthorized|credential|\b40[13]\b|not permitted", re.I
)
_MISSING = re.compile(r"no such file|not found|does not exist|is not there|\b404\b", re.I)
_NETWORK = re.compile(
    r"timed out|unreachable|refused|name or service not known|connection reset|no route", re.I
)
_SPACE = re.compile(r"no space left|disk quota|disk full", re.I)
_CONTAINER = re.compile(r"docker|podman|singularity|apptainer|shifter|container|manifest unknown", re.I)
_MODULE = re.compile(r"ModuleNotFoundError: No module named '?([\w.]+)")
_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object|version [`']?(GLIBC\w*_[\d.]+)")
_UNMADE = re.compile(r"the program did not make ('.*?')")
_CARRIED = re.compile(
    r"\(code 1[23]\)|transfer (?:input|output) files?|transfer (?:input|output) failure", re.I
)


def hints(cause: Cause) -> list[str]:
    """What fits, the most likely first; at least one."""
    found = list(dict.fromkeys(_found(cause)))
    if not found and cause.began and cause.phase != "run":
        found.append("see above why, and look at the file, directory or server that it names")
    elif not found:
        found.append("read the output below; run the program by hand with the arguments shown")
    if cause.job_file:
        found.append(f"to repeat it by hand: pegasus-transfer -f {cause.job_file}")
    return found


def _found(cause: Cause) -> Iterator[str]:
    if not cause.began:
        yield from _before(cause)
    if cause.phase == "run":
        yield from _program(cause)
    elif cause.began:
        yield from _data(cause)
    if _SPACE.search(cause.text):
        yield "a disk is full: make room there, or ask for more with the profile pegasus.diskspace"
    if _CONTAINER.search(cause.text) and (cause.phase == "run" or not cause.began):
        yield (
            "is the container's program (docker, podman, singularity or apptainer) installed where the job"
            " ran, and can its image be had there? Try to start it there by hand"
        )


def _before(cause: Cause) -> Iterator[str]:
    """The worker did not begin, or could not leave word."""
    if _CARRIED.search(cause.text):
        yield "HTCondor could not carry a file: see the reason above for which, and whether it is there"
    elif cause.removed:
        yield "the job was removed: by hand, by its hold (see the reason), or with the whole run"
    if "submit" in cause.text.lower() or "did not take the job" in cause.text:
        yield f"HTCondor refused the job: the end of {cause.directory}/*.dagman.out says why"
    if not cause.attempts:
        yield "it was never submitted"
        return
    if "PRE script" in cause.text:
        yield f"its PRE script failed: see {cause.directory}/*.dagman.out and run the script by hand"
    elif cause.status in (126, 127):
        yield "pegasus-worker could not be started there: is a Python of 3.10 or later on that machine?"
    elif not cause.removed:
        yield (
            "the job ended without a record: killed from outside (memory, time, a machine that went down),"
            " or its files could not be brought back; see the log file"
        )


def _program(cause: Cause) -> Iterator[str]:
    """The program itself failed."""
    late = _TIME.search(cause.text) or cause.status in (-24, 152)
    if (cause.status in (-9, 137) and not late) or _MEMORY.search(cause.text):
        had = f" (it had {cause.memory / 2**20:.0f} MiB)" if cause.memory else ""
        yield f"it ran out of memory, or was killed{had}: ask for more with the profile pegasus.memory"
    if late:
        yield "its time was over: give it more with the profile pegasus.maxwalltime (minutes)"
    if module := _MODULE.search(cause.text):
        yield f"Python's module {module[1]} is not installed where it ran: install it, or use a container"
    if library := _LIBRARY.search(cause.text):
        name = library[1] or library[2]
        yield f"{name} is not on that machine: build for it, or use a container"
    if cause.status in (126, 127) or "cannot be run" in cause.text:
        yield (
            "the program is not there or cannot be started: check its path (pfn), type (stageable, installed)"
            " and architecture in the transformation catalog"
        )
    if cause.status in (-11, -6, -7, -4, 134, 139):
        yield "the program crashed: run it by hand with these arguments and inputs, under a debugger"


def _data(cause: Cause) -> Iterator[str]:
    """Files could not be fetched, verified, or brought."""
    if unmade := _UNMADE.search(cause.text):
        yield f"the program ended well but left no {unmade[1]}: compare its arguments with the job's outputs"
        return
    if _DIGEST.search(cause.text):
        yield (
            "the file differs from what is expected: if it is one of yours and was changed on purpose, mend"
            " its checksum in the replica catalog and plan again, else restore it; if a job of this run"
            f" made it, something changed it since: pegasus-run --remake {cause.directory} makes it anew"
        )
    elif _DENIED.search(cause.text):
        yield (
            "no right to it: check the site's entry in the credentials file, that tokens and proxies are not"
            " expired, and the file's own permissions"
        )
    elif _MISSING.search(cause.text):
        yield (
            "the file is not at that place: check the replica catalog; a file that a job made may have been"
            f" removed from the scratch directory: pegasus-run --remake {cause.directory} makes it anew"
        )
    elif _NETWORK.search(cause.text):
        yield "the server could not be reached: when it is up again, run again"
