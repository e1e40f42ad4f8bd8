"""Upstream's statistics: attempts in ``$PEGASUS_MULTIPART_DIR``, totals and check counts in the log.

The monitoring daemon reads the file (YAML, one list of ``transfer_attempts``) and the lines between
``@@@MONITORING_PAYLOAD`` marks. Attempts go to the file as they settle; nothing is kept in memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pegasus_toolkit.transfer import redact, units
from pegasus_toolkit.transfer.errors import Corrupted
from pegasus_toolkit.transfer.model import Attempt, Location, Outcome, Transfer
from pegasus_toolkit.transfer.records.outfile import OutFile

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.observer import Observer, Progress

_MARKS = ("@@@MONITORING_PAYLOAD - START@@@", "@@@MONITORING_PAYLOAD - END@@@")


class _Checks:
    """Files of one linkage whose content was compared, and whose digest was taken for the record."""

    __slots__ = ("computed", "failed", "succeeded")

    def __init__(self) -> None:
        self.succeeded = self.failed = self.computed = 0


class Statistics:
    """An observer that counts transfers, and writes each attempt to a file of its own."""

    def __init__(self, directory: str, now: float) -> None:
        """``directory`` "": no file. ``now``: seconds since the epoch. Raises ``OSError``."""
        self.file = _create(directory, int(now)) if directory else None
        self.pairs: dict[tuple[str, str], list[int]] = {}  # sites: [transfers, bytes]
        self.checks: dict[str, _Checks] = {}  # by linkage
        if self.file is not None:
            self.file.write(b"- transfer_attempts:\n")

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome.operation, Transfer):
                self._count(outcome, outcome.operation)
        if self.file is not None:
            text = "".join(_attempts(outcomes))
            self.file.write(text.encode(errors="backslashreplace"))

    def tick(self, progress: Progress) -> None:
        """Only outcomes count here, not the time between them."""

    def close(self) -> None:
        """Ends the file. Idempotent."""
        if self.file is not None:
            self.file.close()

    def lines(self, seconds: float, now: float, monitored: bool = True) -> Iterator[str]:
        """What upstream logs at the end of a run that took ``seconds``.

        ``monitored``: with the lines that are for Pegasus' monitoring alone.
        """
        if monitored:
            yield from self._monitoring(int(now))
        total = sum(count for count, _ in self.pairs.values())
        if not total:
            yield "Stats: no local files in the transfer set"
            return
        moved = sum(size for _, size in self.pairs.values())
        yield f"Stats: Total {total} {units.plural(total, 'transfer')}, {_throughput(moved, seconds)}"
        for sites, (count, size) in self.pairs.items():
            throughput = _throughput(size, seconds)
            pair = "->".join(site or "(no label)" for site in sites)
            yield f"       Between sites {pair} : {count} {units.plural(count, 'transfer')}, {throughput}"

    def _count(self, outcome: Outcome, operation: Transfer) -> None:
        attempts = outcome.attempts
        if attempts and not outcome.member:
            last = attempts[-1]
            pair = (_site(last.source), last.destination.endpoint.site)
            totals = self.pairs.get(pair)
            if totals is None:
                totals = self.pairs[pair] = [0, 0]
            totals[0] += 1
            if outcome.status == "done":
                totals[1] += outcome.size
        if outcome.verified or operation.generate_checksum or outcome.error is not None or len(attempts) > 1:
            self._count_checks(outcome, operation)

    def _count_checks(self, outcome: Outcome, operation: Transfer) -> None:
        bad = any(isinstance(attempt.error, Corrupted) for attempt in outcome.attempts)
        checked = "digest" in outcome.verified or "remote" in outcome.verified
        if bad or checked or operation.generate_checksum:
            checks = self.checks.setdefault(operation.linkage or "unknown", _Checks())
            checks.failed += bad
            checks.succeeded += checked
            checks.computed += operation.generate_checksum and outcome.digest != ""

    def _monitoring(self, now: int) -> Iterator[str]:
        for linkage, checks in self.checks.items():
            if checks.succeeded or checks.failed:
                yield _payload(now, "check", linkage, checks.succeeded, checks.failed)
            if checks.computed:
                yield _payload(now, "compute", linkage, checks.computed, 0)


if TYPE_CHECKING:
    _: type[Observer] = Statistics


def quoted(text: str) -> str:
    """A YAML string in double quotes, on one line, whatever it holds."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_escaped(c) for c in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:  # half a character, which YAML cannot hold
        return f"\\\\u{code:04x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _create(directory: str, now: int) -> OutFile:
    """``<time>-transfer``, or ``<time>-<n>-transfer`` where that is another run's."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    for number in range(10_000):
        name = f"{now}-{number}-transfer" if number else f"{now}-transfer"
        try:
            return OutFile(f"{directory}/{name}", flags)
        except FileExistsError:
            continue
    raise FileExistsError(f"no free name left in {directory!r}")


def _attempts(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if isinstance(outcome.operation, Transfer):
            for attempt in outcome.attempts:
                yield _entry(attempt, outcome.operation.lfn)


def _entry(attempt: Attempt, lfn: str) -> str:
    text = (
        f"  - src_url: {_url(attempt.source)}\n"
        f"    src_label: {quoted(_site(attempt.source))}\n"
        f"    dst_url: {_url(attempt.destination)}\n"
        f"    dst_label: {quoted(_site(attempt.destination))}\n"
        f"    success: {attempt.error is None}\n"
        f"    start: {attempt.started:.0f}\n"
        f"    duration: {attempt.seconds:.1f}\n"
    )
    if lfn:
        text += f"    lfn: {quoted(lfn)}\n"
    if attempt.bytes > 0:
        text += f"    bytes: {attempt.bytes}\n"
    return text


def _url(location: Location | None) -> str:
    return quoted(redact.url(location.url)) if location is not None else '""'


def _site(location: Location | None) -> str:
    return location.endpoint.site if location is not None else ""


def _throughput(size: int, seconds: float) -> str:
    per_second = size / seconds if seconds > 0 else 0.0
    return (
        f"{units.binary(size)}B transferred in {seconds:.0f} seconds. "
        f"Rate: {units.binary(per_second)}B/s ({units.binary(per_second * 8)}b/s)"
    )


def _payload(now: int, event: str, linkage: str, succeeded: int, failed: int) -> str:
    """``duration`` is nought: digests are taken while the bytes pass, and cost no time of their own."""
    import msgspec

    counts = {
        "event": event,
        "file_type": linkage,
        "succeeded": succeeded,
        "failed": failed,
        "duration": "0.000",
    }
    data = {"ts": now, "monitoring_event": "int.metric", "payload": [counts]}
    return _MARKS[0] + msgspec.json.encode(data).decode() + _MARKS[1]
