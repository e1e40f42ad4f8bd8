"""The queue that DAGMan and its jobs stand in: what is asked of it, and by which way it is reached."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

SUBMIT = "condor_submit_dag"
_CONFIGURATIONS = ("/etc/condor/condor_config", "/usr/local/etc/condor_config")


class NoPool(Exception):
    """HTCondor is not here, or does not do what it was asked; the message says what it said."""


class NotInstalled(NoPool):
    """There is no HTCondor on this machine at all."""


class Job(NamedTuple):
    """A job in the queue. ``log``: the file of its events."""

    cluster: int
    log: str = ""


class Submission(NamedTuple):
    """``dag``: the absolute path of the DAG file. ``attributes``: text, for the ad of the job that DAGMan is.
    ``inherited``: names of variables that DAGMan and its scripts get beside those that they always get."""

    dag: str
    attributes: Mapping[str, str]
    inherited: tuple[str, ...] = ()


class Schedd(Protocol):
    """The local queue. All calls raise :class:`NoPool`."""

    way: str
    """How it is reached, in words for people."""

    def submit(self, submission: Submission) -> int:
        """Puts DAGMan into the queue, and gives its number there."""

    def start(self, description: str) -> int:
        """Puts the job of a submit description into the queue, and gives its number there."""

    def jobs(self, constraint: str) -> list[Job]:
        """Those for which the ClassAd expression is true."""

    def remove(self, cluster: int) -> None:
        """Asks for the end of a job, and does not wait for it."""


def find(environ: Mapping[str, str]) -> Schedd:
    """The local queue, which has answered. Raises :class:`NoPool`, where nothing is :class:`NotInstalled`."""
    schedd: Schedd
    if shutil.which(SUBMIT, path=environ.get("PATH")):
        from pegasus_toolkit.engines.htcondor.commands import Commands

        schedd = Commands(environ)
    elif not any(_configurations(environ)):
        raise NotInstalled(f"{SUBMIT} is not on PATH, and HTCondor is not configured here")
    else:
        from pegasus_toolkit.engines.htcondor.bindings import Bindings

        schedd = Bindings()
    schedd.jobs("false")
    return schedd


def installed(environ: Mapping[str, str]) -> bool:
    """Whether HTCondor is on this machine, as far as can be told without asking it anything."""
    return bool(shutil.which(SUBMIT, path=environ.get("PATH"))) or any(_configurations(environ))


COMMON_FILES = (25, 13, 2)  # the version from which on DAGMan bears catalogs of files that jobs share


def version(environ: Mapping[str, str]) -> tuple[int, ...]:
    """Of the HTCondor whose commands are on PATH; ``(0,)`` where there is none."""
    found = re.search(r"\$CondorVersion: ([0-9.]+)", _told(("condor_version",), environ))
    return tuple(int(one) for one in found[1].split(".")) if found else (0,)


def strict(environ: Mapping[str, str]) -> bool:
    """Whether DAGMan is here, and takes its warnings for errors, as it does where nobody changed that."""
    return _told(("condor_config_val", "DAGMAN_USE_STRICT"), environ).strip() not in ("", "0")


def _told(words: Sequence[str], environ: Mapping[str, str]) -> str:
    """What a command of HTCondor's prints; "" where DAGMan is not here, or it fails."""
    path = environ.get("PATH")
    program = shutil.which(words[0], path=path)
    if program is None or not shutil.which(SUBMIT, path=path):
        return ""
    words = (program, *words[1:])
    try:
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _configurations(environ: Mapping[str, str]) -> Iterator[bool]:
    """Whether it is in one of the places where HTCondor looks. To ask the bindings would take a second."""
    # The bindings themselves put /dev/null there where they found nothing: that is no HTCondor.
    yield environ.get("CONDOR_CONFIG", "") not in ("", "/dev/null")
    yield from (Path(one).exists() for one in _CONFIGURATIONS)
    try:
        yield Path("~condor/condor_config").expanduser().exists()
    except RuntimeError:  # no such user
        yield False


def text(value: str) -> str:
    """A string in a ClassAd expression."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
