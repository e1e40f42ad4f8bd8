"""One task: a program in its environment, alone or in a container, told in the node's record."""

# pathlib would cost start-up time
# ruff: noqa: PTH103, PTH110, PTH118, PTH120

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from pegasus_toolkit.planner.model import Task
from pegasus_toolkit.worker import machine, program
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.record import TaskRecord
from pegasus_toolkit.worker.work import Work

# What the plan gives the worker for its transfers, a variable for each site: none of a program's business.
_CREDENTIAL = re.compile(
    r"(PEGASUS_CREDENTIALS|X509_USER_PROXY|SSH_PRIVATE_KEY|BOTO_CONFIG|GOOGLE_PKCS12|IRODS_ENVIRONMENT_FILE)_.+"
)

# Reads a script and becomes the program. Such scripts are written for bash, as upstream reads them there.
_SET_UP = ("/bin/bash", "-c", '. "$0" || { echo "$0 failed: exit code $?" >&2; exit 1; }; exec "$@"')
_CHECKPOINTING = 60.0  # seconds for a checkpoint where no walltime says how much time there is
_NO_PROGRAM = (126, 127)  # what starts containers says so of programs in them


def run(work: Work, task: Task, directory: str) -> None:
    """Runs it in the directory. Raises :class:`Failed` unless it ends well."""
    told = TaskRecord(
        id=task.id,
        transformation=task.transformation,
        program=task.program,
        arguments=task.arguments,
        started=time.time(),
        container=task.container.name if task.container is not None else "",
    )
    work.record.tasks.append(told)
    command, broken = _command(work, task, directory)
    with work.stop.told() as stop:
        try:
            ended = program.run(command, stop)
        except OSError as error:
            raise _not_started(work, task, error, command) from None
        finally:
            told.seconds = round(time.time() - told.started, 6)
        told.exit, told.signal = ended.exit, ended.signal
        told.user_seconds, told.system_seconds = ended.usage.ru_utime, ended.usage.ru_stime
        told.max_rss = ended.usage.ru_maxrss * 1024
        told.stdout, told.stderr = ended.stdout, ended.stderr
    _judge(task, ended, broken)


def _judge(task: Task, ended: program.Ended, broken: Collection[int]) -> None:
    """Raises :class:`Failed` unless all is well."""
    if ended.timed_out and task.checkpoint:
        text = f"{task.id} was ended after its checkpoint.time of {task.checkpoint} s"
        raise Failed(f"{text}; its next attempt goes on from the checkpoint", EXIT_RETRY, "checkpoint")
    if ended.timed_out:
        raise Failed(
            f"{task.id} timed out: it was ended after its walltime of {task.walltime} s",
            EXIT_RETRY,
            "walltime",
        )
    if ended.signal is not None:
        raise Failed(f"{task.id} was ended by {_name(ended.signal)}", EXIT_RETRY, "signal")
    if ended.exit in broken:
        raise Failed(
            f"the container of {task.id} could not be started: exit code {ended.exit}",
            EXIT_RETRY,
            "container",
        )
    if task.container is not None and ended.exit in _NO_PROGRAM:
        raise Failed(
            f"{task.program} cannot be run in the container: exit code {ended.exit}",
            EXIT_PERMANENT,
            "not started",
        )
    if ended.exit:
        raise Failed(f"{task.id} ended with exit code {ended.exit}", EXIT_RETRY, "program")
    if task.failure and task.failure in ended.seen:
        raise Failed(f"{task.id} ended with exit code 0, but said {task.failure!r}", EXIT_RETRY, "program")
    if task.success and task.success not in ended.seen:
        raise Failed(
            f"{task.id} ended with exit code 0, but did not say {task.success!r}", EXIT_RETRY, "program"
        )


def _command(work: Work, task: Task, directory: str) -> tuple[program.Command, Collection[int]]:
    """What to run, and which exit codes say that it was not run at all."""
    words: Sequence[str] = (f"./{task.program}" if task.staged else task.program, *task.arguments)
    environment = _environment(work.environ)
    end: Callable[[], None] = _nothing
    broken: Collection[int] = ()
    if task.container is None:
        environment |= task.environment
    else:
        from pegasus_toolkit.worker.containers import Wanted, contain

        wanted = Wanted(task.container, words, directory, task.environment, bool(task.stdin))
        words, more, end, broken = contain(wanted, environment)
        environment |= more

    if task.setup:
        words = (*_SET_UP, f"./{task.setup}", *words)

    def path(lfn: str) -> str:
        return f"{directory}/{lfn}" if lfn else ""

    for lfn in (task.stdout, task.stderr):
        os.makedirs(os.path.dirname(path(lfn)) or directory, exist_ok=True)
    command = program.Command(
        words=words,
        directory=directory,
        environment=environment,
        stdin=path(task.stdin),
        stdout=path(task.stdout),
        stderr=path(task.stderr),
        walltime=task.checkpoint or task.walltime,
        grace=_grace(task),
        end=end,
        watched=[text for text in (task.failure, task.success) if text],
    )
    return command, broken


def _grace(task: Task) -> float:
    """Seconds for the program to leave its checkpoint; the other half of what is left is for moving files."""
    if task.checkpoint and task.walltime:
        return max((task.walltime - task.checkpoint) / 2, program.GRACE)
    return _CHECKPOINTING if task.checkpoint else program.GRACE


def _nothing() -> None:
    """Where nothing runs elsewhere."""


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not _CREDENTIAL.fullmatch(name)}


def _not_started(work: Work, task: Task, error: OSError, command: program.Command) -> Failed:
    """What came with the job and is no program stays so. What is installed, also an interpreter, and what
    the machine is short of, may be there on another."""
    text = error.strerror or str(error)
    missing = isinstance(error, (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError))
    hopeless = missing or error.errno == errno.ENOEXEC
    if error.filename in {command.stdin, command.stdout, command.stderr} - {""}:
        return Failed(
            f"{task.id}: {error.filename}: {text}", EXIT_PERMANENT if hopeless else EXIT_RETRY, "not started"
        )
    path = os.path.join(command.directory, command.words[0])
    installed = not task.staged
    if isinstance(error, FileNotFoundError) and os.path.exists(path):
        text, installed = "the interpreter that its first line names is not there", True
    text = f"{task.id}: {command.words[0]} cannot be run: {text}"
    if hopeless and installed:
        return Failed(f"{text} {machine.here(work, path)}", machine.exit_code(work), "not started")
    return Failed(text, EXIT_PERMANENT if hopeless else EXIT_RETRY, "not started")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
