"""What the commands of a submit file mean where there is no HTCondor."""

from __future__ import annotations

import fnmatch
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.dag import quoting
from pegasus_toolkit.dag.problems import DagError, Problem
from pegasus_toolkit.dag.words import Wrong
from pegasus_toolkit.engines.local.sandbox import EXECUTABLE, Carried
from pegasus_toolkit.engines.spawner import Program

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_UNIVERSES = ("vanilla", "local", "scheduler")
_NUMBERED = {"5": "vanilla", "7": "scheduler", "12": "local"}
_TRUE = ("true", "yes", "t", "y", "1")
_UNITS = {"": 1, "b": 1 / (1 << 20), "k": 1 / 1024, "m": 1, "g": 1024, "t": 1 << 20}
# Without them the job would be another one.
_UNSUPPORTED = [
    "docker_image",
    "container_image",
    "container_target_dir",
    "output_destination",
    "hold",
    "deferral_time",
    "cron_minute",
    "cron_hour",
    "cron_day_of_month",
    "cron_month",
    "cron_day_of_week",
    "job_lease_duration",
    "transfer_plugins",
    "my.transferplugins",
    "vm_type",
    "grid_resource",
    "machine_count",
]
# Here they cannot be kept, but the job is the same.
_LEFT_OUT = [
    "requirements",
    "rank",
    "on_exit_hold",
    "on_exit_remove",
    "max_retries",
    "retry_until",
    "success_exit_code",
    "periodic_hold",
    "periodic_release",
    "allowed_execute_duration",
    "allowed_job_duration",
    "request_gpus",
    "concurrency_limits",
    "start_executable",
    "keep_claim_idle",
]


class Job(NamedTuple):
    """A job, ready to run. ``carried``: where it runs in a sandbox, which is ``program.cwd`` then.
    ``memory``: MiB asked for, 0 if it was not; ``warnings``: commands that are left out."""

    program: Program
    carried: Carried | None
    cpus: int
    memory: int
    warnings: tuple[str, ...]


class Place(NamedTuple):
    """Where a job is run: ``base``, against which paths are meant, and a sandbox for it, should it need one.
    ``entry``: the function of ours that runs in place of a program with this path, "" for others."""

    base: str
    sandbox: str
    environ: Mapping[str, str]
    entry: Callable[[str], str]


def job(file: str, commands: Mapping[str, str], place: Place) -> Job:
    """The job that expanded ``commands`` describe. Raises :class:`DagError` for what cannot be done here."""
    problems = list(_problems(commands))
    if problems:
        raise DagError(Problem(file, 0, one) for one in problems)
    try:
        return _job(commands, place)
    except Wrong as wrong:
        raise DagError([Problem(file, 0, str(wrong))]) from None


def _problems(commands: Mapping[str, str]) -> Iterator[str]:
    universe = _universe(commands)
    if universe not in _UNIVERSES:
        yield f"universe {universe} is not for this machine alone"
    for key in _UNSUPPORTED:
        if commands.get(key, "").lower() not in ("", "false", "no"):
            yield f"{key} is not supported by the local engine"
    if not commands.get("executable"):
        yield "there is no executable"
    for key in ("transfer_input_files", "transfer_output_remaps", "executable"):
        if re.search(r"(?:^|[,=;\"\s])[a-z][a-z0-9+.]*://", commands.get(key, "")):
            yield f"{key}: URLs are fetched by HTCondor's plugins, which there are none of here"


def _job(commands: Mapping[str, str], place: Place) -> Job:
    home = _path(place.base, commands.get("initialdir") or commands.get("initial_dir") or place.base)
    carried = _carried(commands, place.base, home)
    sandbox = place.sandbox if carried is not None else ""
    cpus = max(_whole(commands, "request_cpus", 1), 1)
    executable = _path(place.base, commands["executable"])
    entry = place.entry(executable)
    if carried is not None and carried.executable and not entry:
        executable = f"{sandbox}/{EXECUTABLE}"
    elif carried is not None:
        carried = carried._replace(executable="")  # ours is here, whoever carries it
    words = quoting.arguments(commands.get("arguments") or commands.get("args") or "")
    standard = {key: _path(home, commands[key]) if commands.get(key) else "" for key in _STANDARD}
    program = Program(
        argv=(executable, *words),
        environ=_environment(commands, place, sandbox, cpus),
        cwd=sandbox or home,
        stdin=standard["input"],
        stdout=standard["output"],
        stderr=standard["error"],
        entry=entry,
    )
    warnings = tuple(key for key in _LEFT_OUT if commands.get(key, ""))
    return Job(program, carried, cpus, _memory(commands), warnings)


_STANDARD = ("input", "output", "error")


def _universe(commands: Mapping[str, str]) -> str:
    universe = commands.get("universe", "vanilla").lower()
    return _NUMBERED.get(universe, universe)


def _carried(commands: Mapping[str, str], base: str, home: str) -> Carried | None:
    """What goes with the job; None for one that runs where it is."""
    if _universe(commands) != "vanilla":
        return None
    should = commands.get("should_transfer_files", "IF_NEEDED").upper()
    inputs, outputs = commands.get("transfer_input_files", ""), commands.get("transfer_output_files")
    if should == "NO" or (should == "IF_NEEDED" and not inputs and outputs is None):
        return None
    files = [_path(home, one) for one in (*quoting.listed(inputs), *_common(commands))]
    if proxy := commands.get("x509userproxy"):
        files.append(_path(home, proxy))
    transfer = commands.get("transfer_executable", "true").lower() in _TRUE
    return Carried(
        executable=_path(base, commands["executable"]) if transfer else "",
        inputs=tuple(dict.fromkeys(files)),
        outputs=None if outputs is None else tuple(quoting.listed(outputs)),
        home=home,
        remaps=dict(_remaps(commands.get("transfer_output_remaps", ""), home)),
        only_success=commands.get("when_to_transfer_output", "").upper() == "ON_SUCCESS",
        also_removed=commands.get("when_to_transfer_output", "").upper() == "ON_EXIT_OR_EVICT",
    )


def _common(commands: Mapping[str, str]) -> Iterator[str]:
    """Files that jobs share, which HTCondor carries to each machine once: here they go with each job."""
    for name in quoting.listed(_text(commands, "my.commoninputcatalogs")):
        yield from quoting.listed(_text(commands, f"my._x_catalog_{name}"))
    yield from quoting.listed(_text(commands, "my.commoninputfiles"))


def _text(commands: Mapping[str, str], key: str) -> str:
    """The value of an attribute that is a string."""
    return re.sub(r"\\(.)", r"\1", commands.get(key.lower(), "").strip()[1:-1])


def _remaps(value: str, home: str) -> Iterator[tuple[str, str]]:
    for one in value.strip().strip('"').split(";"):
        name, equals, target = (part.strip() for part in one.partition("="))
        if equals:
            yield name, _path(home, target)
        elif name:
            raise Wrong(f"transfer_output_remaps: expected name=path, found {one!r}")


def _environment(commands: Mapping[str, str], place: Place, sandbox: str, cpus: int) -> dict[str, str]:
    """What HTCondor gives a job: little of its own, then what the submit file says."""
    found = {"PATH": PATH, "OMP_NUM_THREADS": str(cpus), "_CONDOR_SLOT": "slot1"}
    try:
        found["HOME"] = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        found["HOME"] = "/"
    if sandbox:
        found |= dict.fromkeys(("TMPDIR", "TMP", "TEMP", "_CONDOR_SCRATCH_DIR"), sandbox)
    if proxy := commands.get("x509userproxy"):
        path = _path(place.base, proxy)
        found["X509_USER_PROXY"] = f"{sandbox}/{path.rpartition('/')[2]}" if sandbox else path
    found |= dict(_inherited(commands.get("getenv", "false"), place.environ))
    return found | quoting.environment(commands.get("environment") or commands.get("env") or "")


def _inherited(getenv: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if getenv.lower() in ("", "false", "no", "0", "f", "n"):
        return
    patterns = ["*"] if getenv.lower() in _TRUE else [one.strip() for one in getenv.split(",")]
    wanted = [one for one in patterns if not one.startswith("!")]
    unwanted = [one[1:] for one in patterns if one.startswith("!")]
    for name, value in environ.items():
        if _matches(name, wanted or ["*"]) and not _matches(name, unwanted):
            yield name, value


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, one) for one in patterns)


def _whole(commands: Mapping[str, str], key: str, default: int) -> int:
    value = commands.get(key, "").strip()
    return int(value) if value.isdecimal() else default


def _memory(commands: Mapping[str, str]) -> int:
    """MiB; an expression asks for what nobody can tell here."""
    match = re.fullmatch(
        r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", commands.get("request_memory", "").strip().lower()
    )
    return int(float(match[1]) * _UNITS[match[2]]) if match else 0


def _path(base: str, path: str) -> str:
    """Absolute, and with its slash at the end, which means something."""
    return path if path.startswith("/") else str(Path(base)) + "/" + path
