"""Packed workers kept for the next plan; a cache that cannot be used costs time and nothing else."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.worker.pack import archive

_KEPT = 8  # the last ones used


def packed(extras: Sequence[str], directory: Path) -> bytes:
    """The worker with these extras, for this Python, from the directory or made now and left there.

    Raises :class:`CannotPack`.
    """
    path = directory / f"worker-{archive.key(extras)[:32]}"
    try:
        found = regular.read(path)
        os.utime(path)
        return found
    except OSError:
        made = archive.build(extras)
    with contextlib.suppress(OSError):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        regular.replace(str(path), made)
        for old in sorted(directory.glob("worker-*"), key=lambda one: one.stat().st_mtime)[:-_KEPT]:
            old.unlink()
    return made
