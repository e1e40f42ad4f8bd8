"""What killed runs of the same journal have left, here and at servers: found and removed before the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir
from typing import TYPE_CHECKING

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from pegasus_toolkit.transfer.records.journal import leftovers

if TYPE_CHECKING:
    from pegasus_toolkit.cli.console import Console
    from pegasus_toolkit.transfer.model import Operation
    from pegasus_toolkit.transfer.records.journal import Journal


def clean(operations: Sequence[Operation], journal: Journal, settings: Settings, console: Console) -> None:
    """Removes it and says so. What cannot be removed is told and stays noted."""
    if journal.damaged:
        text = f"{journal.damaged} lines of the journal cannot be read; what they noted is done again"
        console.warning(text)
    removed = _here(operations, journal, console) if journal.previous_runs else 0
    removed += sum(
        _there(endpoint, numbers, journal, settings, console)
        for endpoint, numbers in _by_endpoint(journal).items()
    )
    if removed:
        console.info(f"{removed} temporary file{'s' * (removed > 1)} of a killed run removed")


def _here(operations: Sequence[Operation], journal: Journal, console: Console) -> int:
    unfinished = (operation for operation in operations if not journal.done(operation))
    removed = 0
    for path in leftovers(unfinished, journal.previous_runs, gettempdir()):
        try:
            rmtree(path) if Path(path).is_dir() else Path(path).unlink()
            removed += 1
        except OSError as error:
            console.warning(f"cannot remove {path}, left by a killed run: {error.strerror}")
    return removed


def _by_endpoint(journal: Journal) -> dict[Endpoint, list[int]]:
    found: dict[Endpoint, list[int]] = {}
    for number, aside in journal.asides.items():
        found.setdefault(aside.endpoint, []).append(number)
    return found


def _there(
    endpoint: Endpoint, numbers: Sequence[int], journal: Journal, settings: Settings, console: Console
) -> int:
    """Removes one endpoint's; how many were asked for and are gone now."""
    from pegasus_toolkit.transfer.backends import open_backend

    names = {journal.asides[number].path: number for number in numbers}
    gone: list[int] = []
    problem: TransferError | None = None
    try:
        backend = open_backend(endpoint, settings)
        try:
            for path, error in backend.remove(iter(names)):
                problem = error or problem
                if error is None:
                    gone.append(names[path])
        finally:
            backend.close()
    except TransferError as error:
        problem = error
    journal.removed(gone)
    if problem is not None:
        count = len(names) - len(gone)
        text = f"{count} temporary name{'s' * (count > 1)} of a killed run cannot be removed now: {problem}"
        console.warning(redact.message(text))
    return len(gone)
