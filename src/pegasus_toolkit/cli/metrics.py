"""``--metrics`` and ``--metrics-listen``: a run's counters for Prometheus, as a text file and over HTTP."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pegasus_toolkit.cli import progress as lines
from pegasus_toolkit.integrity import regular
from pegasus_toolkit.transfer.model import Outcome, Transfer

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress

INTERVAL = 15.0  # seconds between two writes of the file
PREFIX = "pegasus_transfer_"
STATES = ("done", "skipped", "failed", "cancelled")
VERIFIED = ("digest", "size", "nothing")


class Unavailable(Exception):
    """What was asked for cannot be had here; one line."""


class Metrics:
    """An observer that counts, writes the file now and then, and answers at the port."""

    def __init__(self, path: str, listen: str) -> None:
        """``path`` "": no file; ``listen`` "": no port. Raises ``Unavailable``, ``OSError``."""
        try:
            from prometheus_client import CollectorRegistry, generate_latest
            from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
        except ImportError as error:
            text = f"metrics need {error.name}: pip install 'pegasus-toolkit[metrics]'"
            raise Unavailable(text) from error
        self._counter, self._gauge = CounterMetricFamily, GaugeMetricFamily
        self._path = path
        self._lock = threading.Lock()  # the server's thread reads while the run counts
        self._began = time.time()
        self._over: tuple[float, int] | None = None  # when, and the exit code
        self._progress: Progress | None = None
        self._states: Counter[str] = Counter()
        self._verified: Counter[str] = Counter()
        self._failures: Counter[tuple[str, str]] = Counter()
        self._retries = 0
        self._next = 0.0
        registry = CollectorRegistry()
        registry.register(self)
        self._text: Callable[[], bytes] = lambda: generate_latest(registry)
        self._close = _serve(listen, registry) if listen else None
        self._write()

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        with self._lock:
            for outcome in outcomes:
                self._retries += max(0, len(outcome.attempts) - 1)
                if not outcome.member:
                    self._states[outcome.status] += 1
                if outcome.route == "directory":
                    continue
                if outcome.status == "failed":
                    self._failures[lines.group(outcome)] += 1
                elif outcome.status == "done" and type(outcome.operation) is Transfer:
                    self._verified[_how(outcome)] += outcome.files

    def tick(self, progress: Progress) -> None:
        self._progress = progress
        if progress.seconds >= self._next:
            self._next = progress.seconds + INTERVAL
            with suppress(OSError):  # a full disk ends no run; the last write tells
                self._write()

    def finish(self, code: int) -> str | None:
        """The last numbers; what could not be written."""
        self._over = time.time(), code
        try:
            self._write()
        except OSError as error:
            return f"cannot write {self._path!r}: {error.strerror}"
        finally:
            if self._close is not None:
                self._close()
        return None

    def _write(self) -> None:
        if self._path:
            regular.replace(self._path, self._text(), 0o644)  # which another account's exporter reads

    def collect(self) -> Iterator[Any]:
        """The metrics, as Prometheus' library asks for them."""
        with self._lock:
            yield self._counted("operations", "Operations that are over.", ("status",), self._of(STATES))
            kinds = dict(self._failures)
            yield self._counted("failures", "Failed files, by error and host.", ("kind", "host"), kinds)
            verified = {(name,): self._verified[name] for name in VERIFIED}
            yield self._counted("verified_files", "Files moved, by what was compared.", ("by",), verified)
            yield self._counter(PREFIX + "retries", "Attempts after the first.", self._retries)
        look = self._progress
        if look is not None:
            yield self._counter(PREFIX + "bytes", "Payload bytes moved, in all attempts.", look.bytes)
            yield self._gauge(PREFIX + "files_known", "Files found so far.", look.known)
            yield self._gauge(PREFIX + "files_over", "Files that are over.", look.files)
            yield self._gauge(PREFIX + "waiting", "Operations in back-off, or held back.", look.waiting)
            if look.size is not None:
                yield self._gauge(PREFIX + "size_bytes", "Bytes of all files.", look.size)
        yield self._gauge(PREFIX + "start_time_seconds", "When the run began.", self._began)
        if self._over is not None:
            when, code = self._over
            yield self._gauge(PREFIX + "end_time_seconds", "When the run was over.", when)
            yield self._gauge(PREFIX + "exit_code", "The command's exit code.", code)

    def _of(self, names: Sequence[str]) -> dict[tuple[str, ...], int]:
        return {(name,): self._states[name] for name in names}

    def _counted(self, name: str, text: str, labels: Sequence[str], counts: dict[Any, int]) -> Any:
        family = self._counter(PREFIX + name, text, labels=labels)
        for values, count in counts.items():
            family.add_metric(list(values), count)
        return family


if TYPE_CHECKING:
    _: type[Observer] = Metrics


def _how(outcome: Outcome) -> str:
    if not outcome.verified:
        return "nothing"
    return "size" if outcome.verified == ("size",) else "digest"


def _serve(listen: str, registry: Any) -> Callable[[], None]:
    """Answers at ``[HOST:]PORT``, on this machine alone where no host is named; what ends it."""
    from prometheus_client import start_http_server

    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]") or "127.0.0.1", registry)
    except OSError as error:
        raise Unavailable(f"cannot listen at {listen}: {error.strerror}") from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close
