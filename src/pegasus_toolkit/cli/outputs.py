"""All that a run writes about itself, opened before anything moves and closed when all is over."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.integrity import regular
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.model import Operation, Outcome, Transfer
from pegasus_toolkit.transfer.observer import Observer, Progress, Summary
from pegasus_toolkit.transfer.records.outfile import OutFile
from pegasus_toolkit.transfer.records.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pegasus_toolkit.cli.metrics import Metrics
    from pegasus_toolkit.cli.traces import Traces
    from pegasus_toolkit.transfer.records.journal import Journal
    from pegasus_toolkit.transfer.records.receipts import Manifest
    from pegasus_toolkit.transfer.records.report import Report

    Encode = Callable[[Iterable[Operation]], bytes]


# Variables that only jobs of a Pegasus workflow have: then kickstart or the monitoring daemon reads the log.
IN_A_JOB = ("KICKSTART_", "PEGASUS_WF", "PEGASUS_DAG", "PEGASUS_MULTIPART_DIR")


class Refused(Exception):
    """The run is not begun; one line for each reason. ``code``: the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


class Remaining:
    """Which operations are not done yet; of a directory that was moved in part, which of its files."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._over = bytearray()  # by id, which is an entry's place in the file
        self._members: dict[int, list[Operation]] = {}  # by the directory's id

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.status in ("failed", "cancelled") and (outcome.member or outcome.route == "directory"):
                self._failed(outcome)
            if outcome.status in ("done", "skipped") and not outcome.member:
                place = outcome.operation.id
                if place >= len(self._over):
                    self._over.extend(bytes(place + 1 - len(self._over)))
                self._over[place] = 1

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def _failed(self, outcome: Outcome) -> None:
        operation = outcome.operation
        if outcome.member:
            self._members.setdefault(operation.id, []).append(operation)
        elif len(self._members.get(operation.id, ())) != outcome.failures or _alternatives(operation):
            self._members.pop(operation.id, None)  # its list was cut off, or a file has other ways to go

    def __iter__(self) -> Iterator[Operation]:
        over = self._over
        for one in self._operations:
            if one.id >= len(over) or not over[one.id]:
                yield from self._members.get(one.id) or (one,)


class Verified:
    """Files that were moved by this run: how many were compared with what was expected, and how."""

    def __init__(self) -> None:
        self.digest = self.size = self.nothing = self.stored = self.bytes = 0

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.status != "done" or outcome.route == "directory":
                continue
            checked = outcome.verified
            if type(outcome.operation) is not Transfer:
                continue
            self.bytes += outcome.size
            self.stored += outcome.files if outcome.stored else 0
            if not checked:
                self.nothing += outcome.files
            elif checked == ("size",):
                self.size += outcome.files
            else:
                self.digest += outcome.files

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def counts(self) -> dict[str, int]:
        """For the report: files by what was compared with what was read, and those compared where stored."""
        return {"digest": self.digest, "size": self.size, "nothing": self.nothing, "stored": self.stored}

    def moved(self, seconds: float) -> str:
        """How many files, their bytes and the rate, for people; "" where there are none."""
        files = self.digest + self.size + self.nothing
        if not files:
            return ""
        text = f"; {files} {units.plural(files, 'file')}, {units.size(self.bytes)} in {units.span(seconds)}"
        return f"{text}, {units.rate(self.bytes, seconds)}"

    def lines(self) -> Iterator[str]:
        """For people."""
        if not (self.digest or self.size or self.nothing):
            return
        counts = {"digest": self.digest, "size": self.size}
        good = ", ".join(f"{n} by {how}" for how, n in counts.items() if n) or "none"
        rest = f"; {self.nothing} not, nothing was there to compare with" if self.nothing else ""
        stored = f"; {self.stored} compared at the destination" if self.stored else ""
        yield f"Files verified: {good}{rest}{stored}"


class Failures:
    """Failed operations by the kind of error and the host, with an example of each."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], tuple[int, str]] = {}

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        from pegasus_toolkit.cli import progress

        for outcome in outcomes:
            if outcome.status == "failed" and outcome.error is not None and outcome.route != "directory":
                group = progress.group(outcome)
                count, example = self._groups.get(group, (0, ""))
                self._groups[group] = count + 1, example or progress.brief(outcome)

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def lines(self) -> Iterator[str]:
        """The largest first; nothing for a single failure, of which a line was written already."""
        if sum(count for count, _ in self._groups.values()) < 2:
            return
        for (kind, host), (count, example) in sorted(self._groups.items(), key=lambda one: -one[1][0]):
            yield f"{count} failed: {kind} at {host}, such as {example}"


class Outputs:
    """The one observer that the engine knows; hands on to the others, under a lock.

    The lock lets another thread take over when the engine does not come back from a cancellation.
    """

    def __init__(self, arguments: Arguments, environ: Mapping[str, str], console: Console) -> None:
        """Opens what the arguments name. Raises ``Refused``."""
        self.arguments = arguments
        self.console = console
        self.run = run_name()
        self.counts = {"done": 0, "skipped": 0, "failed": 0, "cancelled": 0}
        self.bytes = self.attempts = 0
        self.began = time.monotonic()
        self._lock = threading.RLock()
        self._closed = False
        self._code = 1
        self._observers: list[Observer] = []
        self.left: Remaining | None = None
        self.journal: Journal | None = None
        self.report: Report | None = None
        self.manifest: Manifest | None = None
        self.sums: Manifest | None = None
        self._monitored = any(name.startswith(IN_A_JOB) for name in environ)
        self.watchers: list[Metrics | Traces] = []
        self.verified = Verified()
        self.failures = Failures()
        try:
            self._open(arguments, environ)
        except OSError as error:
            raise Refused(f"cannot write {error.filename!r}: {error.strerror}") from error
        self.statistics = self._statistics(environ.get("PEGASUS_MULTIPART_DIR", ""))
        for observer in (
            self.journal,
            self.report,
            self.manifest,
            self.sums,
            self.statistics,
            *self.watchers,
        ):
            if observer is not None:
                self._observers.append(observer)

    def _open(self, arguments: Arguments, environ: Mapping[str, str]) -> None:
        """Modules are imported by those who use them: each is some milliseconds of start-up."""
        if arguments.journal:
            from pegasus_toolkit.transfer.records.journal import Journal, JournalError

            try:
                self.journal = Journal(arguments.journal, self.run)
            except JournalError as error:  # one that is in use will be free again
                raise Refused(str(error), 1 if error.busy else 2) from error
        if arguments.report:
            from pegasus_toolkit.transfer.records.report import Report

            self.report = Report(arguments.report)
        if arguments.manifest:
            from pegasus_toolkit.transfer.records.receipts import Manifest

            self.manifest = Manifest(arguments.manifest, self.journal)
        if arguments.sums:
            from pegasus_toolkit.transfer.records.receipts import Manifest

            self.sums = Manifest(arguments.sums, self.journal)
        if arguments.failed:
            _probe(arguments.failed)
        if arguments.metrics or arguments.metrics_listen or arguments.traces:
            self.watchers = _watchers(arguments, environ)

    def _statistics(self, directory: str) -> Statistics:
        try:
            return Statistics(directory, time.time())
        except OSError as error:
            text = f"cannot write statistics to $PEGASUS_MULTIPART_DIR {directory!r}: {error.strerror}"
            self.console.error(text)
            return Statistics("", time.time())

    def begin(self, operations: Sequence[Operation], others: Sequence[Observer]) -> None:
        """The run begins."""
        if self.arguments.failed:
            self.left = Remaining(operations)
            self._observers.append(self.left)
        self._observers += others
        if self.journal is not None:
            self.journal.begin()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            if self._closed:
                return
            for outcome in outcomes:
                self.attempts += len(outcome.attempts)
                if not outcome.member:
                    self.counts[outcome.status] += 1
            self.verified.settled(outcomes)
            self.failures.settled(outcomes)
            for observer in self._observers:
                observer.settled(outcomes)

    def tick(self, progress: Progress) -> None:
        self.bytes = progress.bytes
        self.console.flush()
        with self._lock:
            for observer in () if self._closed else self._observers:
                observer.tick(progress)

    def finish(self, summary: Summary, encode: Encode, whole: bool = True, patience: float = -1) -> int:
        """Completes and closes everything; the exit code. ``whole``: nothing was left behind.

        ``patience``: seconds to wait for another thread that writes outputs, -1 for as long as it takes.
        """
        if not self._lock.acquire(timeout=patience):
            return 1
        try:
            return self._finish(summary, encode, whole)
        finally:
            self._lock.release()

    def _finish(self, summary: Summary, encode: Encode, whole: bool) -> int:
        if self._closed:
            return self._code
        self._closed = True
        problems = [*summary.problems, *self._complete(encode, whole and not summary.abandoned)]
        if count := summary.unrecorded:
            self.console.warning(f"KICKSTART_INTEGRITY_DATA is not set: {count} digests are recorded nowhere")
        for text in problems:
            self.console.error(text)
        code = summary.exit_code or (1 if problems else 0)
        if self.report is not None:
            self.report.finish(summary, code, self.verified.counts())
            if complaint := self.report.file.complaint("the report"):
                self.console.error(complaint)
                code = code or 1
        for watcher in self.watchers:
            if complaint := watcher.finish(code):
                self.console.warning(complaint)
        self._farewell(summary, code)
        self._code = code
        return code

    def _complete(self, encode: Encode, whole: bool) -> Iterator[str]:
        """What could not be written, a line each."""
        for manifest in (self.manifest, self.sums):
            if manifest is not None:
                manifest.finish()
                yield from _some(manifest.file.complaint("the manifest"))
                if manifest.without:
                    self.console.warning(f"{manifest.without} files have no digest for the manifest")
        if self.left is not None:
            yield from _some(_replace(self.arguments.failed, encode(self.left)))
        if self.journal is not None:
            self.journal.finish() if whole else self.journal.close()
            yield from _some(self.journal.file.complaint("the journal"))
        self.statistics.close()
        if self.statistics.file is not None and (line := self.statistics.file.complaint("statistics file")):
            self.console.error(line)

    def _continuation(self, code: int) -> Iterator[str]:
        """The command that does what is left."""
        arguments = self.arguments
        if code == 0:
            return
        from shlex import join

        same = join([*arguments.command.split(), *arguments.given])
        if (arguments.journal and arguments.file + arguments.destination != "-") or arguments.verb == "sync":
            yield f"To continue: {same}"
        elif arguments.failed:
            yield f"To do what is left: {join(['pegasus-transfer', '-f', arguments.failed])}"
        elif arguments.destination and code == 1:
            yield f"To do it again: {same}   (with --journal FILE: only what is left)"

    def _farewell(self, summary: Summary, code: int) -> None:
        console = self.console
        console.status("")
        for line in (
            ()
            if not console.wants_info or (self.arguments.sources and not self._monitored)
            else self.statistics.lines(summary.seconds, time.time(), self._monitored)
        ):
            console.info(line)
        for line in self.verified.lines():
            console.info(line)
        for line in self.failures.lines():
            console.error(line)
        for line in self._continuation(code):
            console.info(line)
        parts = [f"{n} {word}" for word, n in self.counts.items() if n]
        console.info((", ".join(parts) or "nothing to do") + self.verified.moved(summary.seconds))
        if code == 0:
            console.info("All transfers completed successfully.")
        elif not (summary.failed or summary.cancelled):
            console.critical("All transfers completed, but not all that was asked for could be written.")
        else:
            console.critical("Some transfers failed! See above, and possibly stderr.")


def _watchers(arguments: Arguments, environ: Mapping[str, str]) -> list[Metrics | Traces]:
    """Those that tell other programs how the run goes. Raises ``Refused``, ``OSError``."""
    from pegasus_toolkit.cli.metrics import Metrics, Unavailable

    made: list[Metrics | Traces] = []
    try:
        if arguments.metrics or arguments.metrics_listen:
            made.append(Metrics(arguments.metrics, arguments.metrics_listen))
        if arguments.traces:
            from pegasus_toolkit.cli.traces import Traces

            made.append(Traces(environ))
    except Unavailable as error:
        raise Refused(str(error)) from error
    return made


def _alternatives(operation: Operation) -> bool:
    return isinstance(operation, Transfer) and len(operation.sources) + len(operation.destinations) > 2


def run_name() -> str:
    """A name that no other run has, for temporary files."""
    return os.urandom(6).hex()


def _some(text: str | None) -> Iterator[str]:
    if text is not None:
        yield text


def _probe(path: str) -> None:
    """Raises ``OSError`` when ``path`` could not be replaced, or written to, at the end of the run."""
    if not regular.replaceable(path):
        return
    aside = OutFile(f"{os.path.realpath(path)}.{run_name()}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    aside.close()
    os.unlink(aside.path)  # noqa: PTH108


def _replace(path: str, content: bytes) -> str | None:
    """Replaces the file; readable by its owner alone, as URLs may hold secrets."""
    try:
        regular.replace(path, content, 0o600)
    except OSError as error:
        return f"cannot write {path!r}: {error.strerror}"
    return None


_: tuple[type[Observer], ...] = (Outputs, Remaining, Verified, Failures)
