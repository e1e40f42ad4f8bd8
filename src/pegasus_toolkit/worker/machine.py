"""What is true of the machine that a job came to, and may be otherwise on the next: mounts, programs."""

# pathlib would cost start-up time
# ruff: noqa: PTH120, PTH123

from __future__ import annotations

import os
import re

from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY
from pegasus_toolkit.worker.work import Work


def exit_code(work: Work) -> int:
    """Of what is wrong with this machine: another node of the site may do better, the submit host is one."""
    return EXIT_PERMANENT if work.node.site == "local" else EXIT_RETRY


def here(work: Work, path: str) -> str:
    """Where that is, for the end of a message: site, machine, and the file system that ``path`` is on."""
    place = f"at site {work.node.site!r} on {work.record.host}"
    there = path
    while not os.path.lexists(there) and there not in ("/", ""):
        there = os.path.dirname(there)
    nearest = "" if there == path else f"{there or '.'} is there, on "
    return f"{place} ({nearest}{_file_system(os.path.realpath(there or '.'))})"


def _file_system(path: str) -> str:
    """What is mounted at or above a path."""
    point = path
    while not os.path.ismount(point):
        point = os.path.dirname(point)
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split(" ") for line in file]
    except OSError:
        mounts = []
    kinds = [words[2] for words in mounts if len(words) > 2 and _plain(words[1]) == point]
    return f"the file system {point}" + (f" of the type {kinds[-1]}" if kinds else "")


def _plain(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
