"""One run of ``pegasus-transfer``: from checked arguments to the exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import FrameType
from typing import TYPE_CHECKING, Any

from msgspec import structs

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Outputs, Refused, run_name
from pegasus_toolkit.cli.preconnect import Preconnect
from pegasus_toolkit.cli.progress import Lines, Live
from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.transfer import spec
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.observer import Observer, Summary
from pegasus_toolkit.transfer.spec.specification import Specification
from pegasus_toolkit.transfer.units import plural

if TYPE_CHECKING:
    from pegasus_toolkit.files.copying import Plan

PATIENCE = 4.5  # seconds from the first signal to the end of the run, whatever hangs


def execute(arguments: Arguments, environ: Mapping[str, str], console: Console) -> int:
    """Reads the specification and runs it (or, with --dry-run, plans it). Raises ``Refused``."""
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts(console))
        settings = _settings(arguments, environ, console)
        console.mask = settings.credentials.mask
        early = stack.enter_context(Preconnect(settings))
        operations = _load(arguments, settings, console, early)
        if arguments.check:
            from pegasus_toolkit.cli.check import check_all

            return check_all(operations, settings, arguments, console)
        if arguments.dry_run:
            from pegasus_toolkit.cli.dry_run import plan_all

            return plan_all(operations, Engine(_options(arguments, run_name()), settings), arguments, console)
        outputs = Outputs(arguments, environ, console)
        settings = structs.replace(settings, notes=outputs.journal or settings.notes)
        engine = Engine(_options(arguments, outputs.run), settings, [outputs], pool=early.pool)
        interrupts.aim(engine, outputs)
        summary, code = _move(operations, engine, outputs, _live(arguments, environ))
    if summary.abandoned:  # a thread that hangs in a call would keep the interpreter from its end
        console.close()
        os._exit(code)
    return code


def _move(
    operations: Specification | Plan, engine: Engine, outputs: Outputs, live: bool
) -> tuple[Summary, int]:
    """The run itself; its summary and the exit code."""
    console, notes = outputs.console, outputs.journal
    others: list[Observer] = [Lines(console, len(operations), live)]
    if live:
        others.append(Live(console))
    if outputs.arguments.bandwidth:
        from pegasus_toolkit.cli.bandwidth import Throttle
        from pegasus_toolkit.transfer.engine.limits import Bandwidth

        engine.limiter = Bandwidth(0)
        others.append(Throttle(outputs.arguments.bandwidth, engine.limiter, console.info))
    if outputs.sums is not None:
        outputs.sums.root = getattr(operations, "root", None)
    outputs.begin(operations, others)
    if notes is not None and (notes.previous_runs or notes.asides or notes.damaged):
        from pegasus_toolkit.transfer.records.leftovers import clean

        if removed := clean(operations, notes, engine.settings, console.warning):
            console.info(f"{removed} temporary file{'s' * (removed > 1)} of a killed run removed")
    try:
        summary = engine.run(operations, notes.done if notes is not None else None)
    except BaseException:  # what is known so far must not be lost with it
        outputs.finish(_broken_off(outputs), spec.encode, whole=False)
        raise
    code = outputs.finish(summary, spec.encode)
    if outputs.arguments.sources and not code:
        from pegasus_toolkit.cli import plain

        code = plain.finish(operations, console)
    return summary, code


def _load(
    arguments: Arguments, settings: Settings, console: Console, early: Preconnect
) -> Specification | Plan:
    environ = settings.environ
    # What is opened early knows no journal, which is not opened for a wrong specification.
    begin = None if arguments.check or arguments.dry_run or arguments.journal else early.begin
    try:
        if arguments.sources:
            from pegasus_toolkit.cli import plain

            plan, pool = plain.operations(arguments, settings, console)
            early.take(pool, keep=begin is not None)
            return plan
        elif arguments.file != "-":
            console.info(f"Reading transfer specification from {arguments.file}")
            operations = spec.load(arguments.file, environ, begin)
        elif sys.stdin is None:
            raise Refused("standard input is closed; name the specification with -f FILE")
        else:
            terminal = sys.stdin.isatty()
            console.info("Reading URL pairs from stdin" + ("; end with Ctrl-D" if terminal else ""))
            operations = spec.load(sys.stdin.buffer, environ, begin)
    except (spec.SpecificationError, TransferError, UnicodeError) as error:
        name = "standard input" if arguments.file == "-" else arguments.file
        raise Refused("\n".join(f"{name}: {line}" for line in str(error).splitlines())) from error
    except OSError as error:
        raise Refused(f"cannot read {arguments.file}: {error.strerror or error}") from error
    for warning in operations.warnings:
        console.warning(warning)
    console.info(f"{len(operations)} {plural(len(operations), 'operation')} loaded")
    return operations


def _settings(arguments: Arguments, environ: Mapping[str, str], console: Console) -> Settings:
    try:
        credentials = Credentials.load(environ)
    except CredentialError as error:
        raise Refused(str(error)) from error
    return Settings(
        credentials=credentials,
        environ=dict(environ),
        connect_timeout=arguments.connect_timeout,
        stall_timeout=arguments.stall_timeout,
        connections=arguments.threads,
        streams=arguments.streams,
        warn=console.warning,
    )


def _options(arguments: Arguments, run: str) -> Options:
    return Options(
        attempts=arguments.attempts,
        concurrency=arguments.threads,
        per_host=arguments.per_host,
        algorithm=arguments.digest,
        symlink=arguments.symlink,
        min_rate=arguments.min_rate,
        keep_partial=bool(arguments.journal),
        careful=arguments.verb == "sync",
        run=run,
        patience=arguments.patience,
    )


def _live(arguments: Arguments, environ: Mapping[str, str]) -> bool:
    if arguments.progress != "auto":
        return arguments.progress == "always"
    stream = sys.stderr
    return not arguments.quiet and stream is not None and stream.isatty() and environ.get("TERM") != "dumb"


class Interrupts:
    """What signals do while this context is open.

    Before ``aim`` one raises ``KeyboardInterrupt``. After it the first cancels the run; the second, or
    a run that does not come back, ends the process.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._engine: Engine | None = None
        self._outputs: Outputs | None = None
        self._before: dict[int, Any] = {}
        self._received = 0

    def aim(self, engine: Engine, outputs: Outputs) -> None:
        """From here on there is a run to cancel."""
        self._outputs = outputs
        self._engine = engine

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or in the background of a script
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if not self._received:
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._engine is None or self._outputs is None:
            raise KeyboardInterrupt(name)
        self._received += 1
        if self._received > 1:
            os._exit(1)
        self._engine.cancel(f"{name} received")
        self._console.patience = 0.5
        guard = threading.Timer(PATIENCE, _force, (self._outputs, self._console))
        guard.daemon = True
        guard.start()


def _force(outputs: Outputs, console: Console) -> None:
    """Ends a run that did not come back from its cancellation: reports first, then the process."""
    code = 1
    console.patience = 0.1
    try:
        code = outputs.finish(_broken_off(outputs), spec.encode, whole=False, patience=0.2)
        console.close()
    finally:
        os._exit(code)


def _broken_off(outputs: Outputs) -> Summary:
    """The summary of a run that the engine did not bring to its end."""
    counts = outputs.counts
    return Summary(
        done=counts["done"],
        skipped=counts["skipped"],
        failed=counts["failed"],
        cancelled=counts["cancelled"],
        bytes=outputs.bytes,
        seconds=time.monotonic() - outputs.began,
        attempts=outputs.attempts,
        exit_code=1,
        abandoned=1,
    )
