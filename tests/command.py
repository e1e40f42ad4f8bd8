"""Runs the installed ``pegasus-transfer`` as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pegasus_toolkit.transfer.url import from_path

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "pegasus-transfer")
CLEAN = ("PEGASUS", "KICKSTART", "OSG_", "AWS_", "X509_", "SSH_", "RUCIO_", "TMPDIR")


def environment(**more: str) -> dict[str, str]:
    """This process's, without what steers the command, and with ``more``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(CLEAN)}
    return kept | more


def run(
    *arguments: str | Path,
    cwd: Path,
    input: bytes | str = b"",
    env: dict[str, str] | None = None,
    limit: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Runs it to its end, ``limit`` seconds at most; standard output and error as text."""
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        input=input if isinstance(input, bytes) else input.encode(),
        env=environment(**(env or {})),
        capture_output=True,
        timeout=limit,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def start(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Starts it in a session of its own; the caller ends it and reads its standard error."""
    return subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def entry(source: Path | str, destination: Path | str, **keys: Any) -> dict[str, Any]:
    """One transfer; paths become ``file:`` URLs."""
    return {
        "type": "transfer",
        "src_urls": [{"site_label": "local", "url": _url(source)}],
        "dest_urls": [{"site_label": "local", "url": _url(destination)}],
        **keys,
    }


def write(path: Path, entries: Sequence[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(entries))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a report."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def _url(place: Path | str) -> str:
    return place if isinstance(place, str) else from_path(str(place))
