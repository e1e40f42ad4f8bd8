"""``--check``: what each endpoint of a specification answers, on standard output; nothing is moved."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from pegasus_toolkit.cli.console import Console, visible
from pegasus_toolkit.transfer import redact, units
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.preflight import Finding, check
from pegasus_toolkit.transfer.interface import Identity, Settings
from pegasus_toolkit.transfer.model import Operation


def check_all(operations: Sequence[Operation], settings: Settings, console: Console) -> int:
    """0 when every endpoint is ready; else as the run would exit."""
    code, count = 0, 0
    for finding in check(operations, Pool(settings, open_backend)):
        count += finding.error is not None
        if finding.error is not None:
            code = max(code, finding.error.exit_code)
        for line in lines(finding):
            _print(settings.credentials.mask(line))
    bad = f"{count} {units.plural(count, 'endpoint')} not ready"
    verdict = bad if count else "every endpoint is ready"
    console.info(f"{verdict}; nothing was moved")
    return code


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


def _who(identity: Identity) -> str:
    text = f"{identity.kind} ({identity.origin})" if identity.origin else identity.kind
    if identity.expires is not None:
        left = max(0.0, identity.expires - time.time())
        text += f", {left / 3600:.1f} hours left"
    return text
