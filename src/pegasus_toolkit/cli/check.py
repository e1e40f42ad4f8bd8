"""``--check``: what each endpoint of a specification answers, and what cannot be done, on standard output;
nothing is moved."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from pegasus_toolkit.cli.console import Console, visible
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Refused
from pegasus_toolkit.transfer import redact, units
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.preflight import Finding, check
from pegasus_toolkit.transfer.engine.survey import Survey
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings
from pegasus_toolkit.transfer.model import Operation
from pegasus_toolkit.transfer.observer import Plan
from pegasus_toolkit.transfer.records.report import Report, ends

Mask = Callable[[str], str]
TOLD = 10  # things that cannot be done have a line each, up to so many


def check_all(
    operations: Sequence[Operation], settings: Settings, arguments: Arguments, console: Console
) -> int:
    """0 when every endpoint is ready and every source there; else as the run would exit.

    Raises ``Refused``.
    """
    report = begun(arguments.report)
    pool = Pool(settings, open_backend)
    failed = _endpoints(check(operations, pool), settings.credentials.mask, report)
    survey = Survey(operations, pool, failed)
    wrong: list[TransferError] = []
    for one in survey.look(lambda _: bool(arguments.sources)):  # named in plain words: looked at already
        if one.error is not None and one.error not in failed.values():
            wrong.append(one.error)
            if report is not None:
                report.planned(one.operation, Plan("none", "", *ends(one.operation), one.error), one.size)
    wrong += survey.room()
    pool.close()
    _verdict(survey, failed, wrong, settings.credentials.mask, console)
    code = max((error.exit_code for error in (*failed.values(), *wrong)), default=0)
    if report is not None:
        report.end({"failed": len(wrong), "not_ready": len(failed), "bytes": survey.bytes, "exit_code": code})
        if text := report.file.complaint("the report"):
            console.error(text)
            code = code or 1
    return code


def _endpoints(
    findings: Iterable[Finding], mask: Mask, report: Report | None
) -> dict[Endpoint, TransferError]:
    """Tells each; those that are not ready."""
    failed: dict[Endpoint, TransferError] = {}
    for finding in findings:
        if finding.error is not None:
            failed[finding.use.endpoint] = finding.error
        for line in lines(finding):
            _print(mask(line))
        if report is not None:
            counts = {"reads": finding.use.reads, "writes": finding.use.writes}
            report.noted(json.loads(mask(json.dumps({"type": "endpoint", **told(finding), **counts}))))
    return failed


def _verdict(
    survey: Survey,
    failed: Mapping[Endpoint, TransferError],
    wrong: Sequence[TransferError],
    mask: Mask,
    console: Console,
) -> None:
    """What cannot be done, and the last line."""
    for error in wrong[:TOLD]:
        _print(mask(f"FAILED  {redact.message(str(error))}"))
    if len(wrong) > TOLD:
        _print(f"FAILED  {len(wrong) - TOLD} more")
    bad = f"{len(failed)} {units.plural(len(failed), 'endpoint')} not ready" if failed else ""
    undone = f"{len(wrong)} {units.plural(len(wrong), 'operation')} cannot be done" if wrong else ""
    verdict = (
        ", ".join(filter(None, (bad, undone))) or f"every endpoint is ready, {sizes(survey)} to be moved"
    )
    console.info(f"{verdict}; nothing was moved")


def begun(path: str) -> Report | None:
    """The report of what moves nothing, where one is wanted. Raises ``Refused``."""
    try:
        return Report(path) if path else None
    except OSError as error:
        raise Refused(f"cannot write {path!r}: {error.strerror}") from error


def sizes(survey: Survey) -> str:
    """The bytes of all files, for people."""
    unknown = f" and {survey.unsized} of unknown size" if survey.unsized else ""
    return f"{units.size(survey.bytes)}{unknown}"


def _print(text: str) -> None:
    with suppress(BrokenPipeError):  # the reader has seen enough
        print(visible(text).encode(errors="backslashreplace").decode(), file=sys.stdout)


def lines(finding: Finding, counted: bool = True) -> list[str]:
    """One endpoint: ready or not, who we are there, what was asked of it (``counted``); warnings below."""
    use = finding.use
    name = f"{use.endpoint.scheme}://{use.endpoint.authority}"
    words = ["FAILED" if finding.error is not None else "ready ", redact.url(name)]
    if use.endpoint.site:
        words.append(f"site {use.endpoint.site}")
    if finding.identity is not None:
        words.append(_who(finding.identity))
    if counted:
        words.append(f"{use.reads} to read, {use.writes} to write")
    if finding.free is not None:
        words.append(f"{units.size(finding.free)} free")
    if finding.error is not None:
        words.append(redact.message(str(finding.error)))
    return ["  ".join(words), *(f"        warning: {redact.message(w)}" for w in finding.warnings)]


def told(finding: Finding) -> dict[str, object]:
    """The same for programs; nothing is masked yet."""
    use, who = finding.use, finding.identity
    return {
        "url": f"{use.endpoint.scheme}://{use.endpoint.authority}",
        "ready": finding.error is None,
        "credential": who and {"kind": who.kind, "origin": who.origin, "expires": who.expires},
        "free": finding.free,
        "seconds": finding.seconds,
        "warnings": [redact.message(one) for one in finding.warnings],
        "error": None if finding.error is None else redact.message(str(finding.error)),
    }


def _who(identity: Identity) -> str:
    text = f"{identity.kind} ({identity.origin})" if identity.origin else identity.kind
    if identity.expires is not None:
        left = max(0.0, identity.expires - time.time())
        text += f", {left / 3600:.1f} hours left"
    return text
