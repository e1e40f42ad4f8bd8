"""A job's own directory, as HTCondor makes it: its input is carried in, its output out."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

EXECUTABLE = "condor_exec.exe"  # HTCondor's name for an executable that it carried
_INPUT, _OUTPUT = 13, 12  # why a job is held, in HTCondor's numbers


class Held(Exception):
    """Files could not be carried: HTCondor would hold the job. ``code`` is its number for the reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Carried(NamedTuple):
    """What goes with a job. Paths are absolute but for ``outputs``; a slash at the end of a directory's means
    its contents.

    ``executable``: "" where it is not carried. ``outputs``: paths in the sandbox; None: all files in it that
    are new or changed. ``home``: where outputs go. ``remaps``: other names for some of them.
    ``only_success``: only if the job's exit code is 0. ``also_removed``: also if
    the job was ended with the run, as nobody here spools what is evicted.
    """

    executable: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...] | None
    home: str
    remaps: Mapping[str, str]
    only_success: bool
    also_removed: bool = False


Before = Mapping[str, tuple[int, int]]


def fill(directory: str, carried: Carried) -> Before:
    """Makes ``directory``, puts the input there, and tells what was put. Raises :class:`Held`."""
    try:
        Path(directory).mkdir(mode=0o700)
        for path in carried.inputs:
            _put(path, directory)
        if carried.executable:
            target = Path(directory, EXECUTABLE)
            shutil.copyfile(carried.executable, target)
            target.chmod(0o755)
    except OSError as error:
        raise Held(_INPUT, f"Transfer input files failure: {_told(error)}") from None
    return _files(directory)


def collect(directory: str, carried: Carried, before: Before) -> None:
    """Brings the output home. Raises :class:`Held` if some is missing; what is there has come, then."""
    wanted = carried.outputs
    if wanted is None:
        now = _files(directory)
        wanted = tuple(name for name in now if name != EXECUTABLE and before.get(name) != now[name])
    troubles = []
    for path in wanted:
        try:
            _take(directory, path, carried)
        except OSError as error:
            troubles.append(_told(error))
    if troubles:
        raise Held(_OUTPUT, f"Transfer output files failure: {'; '.join(troubles)}")


def remove(directory: str) -> None:
    """Away with it; what cannot be removed stays, for the end of the run."""
    shutil.rmtree(directory, ignore_errors=True)


def _put(path: str, directory: str) -> None:
    if not Path(path).is_dir():
        shutil.copy(path, directory)
    elif path.endswith("/"):
        for one in Path(path).iterdir():
            _put(str(one), directory)
    else:
        target = Path(directory, path.rpartition("/")[2])
        shutil.copytree(path, target, dirs_exist_ok=True, copy_function=shutil.copy)


def _take(directory: str, path: str, carried: Carried) -> None:
    source = Path(directory, path)
    if path.endswith("/"):
        if not source.is_dir():
            _bring(source, Path(carried.home, carried.remaps.get(path, source.name)))
            return
        for one in source.iterdir():
            _bring(one, Path(carried.home, one.name))
    else:
        _bring(source, Path(carried.home, carried.remaps.get(path, source.name)))


def _bring(source: Path, target: Path) -> None:
    """A file or a directory under its final name; a file never half."""
    if source.is_dir():
        target.mkdir(exist_ok=True)
        for one in source.iterdir():
            _bring(one, target / one.name)
        return
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # It stays where it is, too: a symbolic link that is still to come may mean it.
        linked = False
        if not source.is_symlink():
            with contextlib.suppress(OSError):  # on another file system, most often
                os.link(source, aside)
                linked = True
        if not linked:
            shutil.copy(source, aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _files(directory: str) -> Before:
    with os.scandir(directory) as entries:
        found = [(one.name, one.stat()) for one in entries if one.is_file()]
    return {name: (status.st_mtime_ns, status.st_size) for name, status in found}


def _told(error: OSError) -> str:
    if isinstance(error, shutil.Error):
        return "; ".join(str(one[2]) for one in error.args[0])
    return f"{error.strerror}: {os.fspath(error.filename)!s}" if error.filename else str(error)
