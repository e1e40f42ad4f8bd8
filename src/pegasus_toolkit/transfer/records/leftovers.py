"""What killed runs of the same journal have left, here and at servers: found and removed before the run."""

# pathlib would cost start-up time
# ruff: noqa: PTH107, PTH112

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from tempfile import gettempdir
from typing import TYPE_CHECKING

from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from pegasus_toolkit.transfer.records.journal import leftovers

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.model import Operation
    from pegasus_toolkit.transfer.records.journal import Journal

Warn = Callable[[str], None]


def clean(operations: Iterable[Operation], journal: Journal, settings: Settings, warn: Warn) -> int:
    """Removes it; how many files. What cannot be removed is told to ``warn`` and stays noted."""
    if journal.damaged:
        warn(f"{journal.damaged} lines of the journal cannot be read; what they noted is done again")
    removed = _here(operations, journal, warn) if journal.previous_runs else 0
    return removed + sum(
        _there(endpoint, numbers, journal, settings, warn)
        for endpoint, numbers in _by_endpoint(journal).items()
    )


def _here(operations: Iterable[Operation], journal: Journal, warn: Warn) -> int:
    unfinished = (operation for operation in operations if not journal.done(operation))
    removed = 0
    for path in leftovers(unfinished, journal.previous_runs, gettempdir()):
        try:
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
            removed += 1
        except OSError as error:
            warn(f"cannot remove {path}, left by a killed run: {error.strerror}")
    return removed


def _by_endpoint(journal: Journal) -> dict[Endpoint, list[int]]:
    found: dict[Endpoint, list[int]] = {}
    for number, aside in journal.asides.items():
        found.setdefault(aside.endpoint, []).append(number)
    return found


def _there(
    endpoint: Endpoint, numbers: Sequence[int], journal: Journal, settings: Settings, warn: Warn
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
        warn(redact.message(text))
    return len(gone)
