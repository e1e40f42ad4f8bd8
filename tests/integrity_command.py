"""Runs the installed ``pegasus-integrity`` as a program, for the tests of it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
from pathlib import Path

COMMAND = str(Path(sysconfig.get_path("scripts"), "pegasus-integrity"))


def sha(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


class Run:
    """One run in a directory of its own: exit status, standard output and error."""

    def __init__(self, place: Path, *arguments: str | bytes, stdin: bytes = b"", **environ: str) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PEGASUS", "KICKSTART"))}
        done = subprocess.run(
            [COMMAND, *arguments],
            cwd=place,
            input=stdin,
            capture_output=True,
            env=clean | environ,
            check=False,
        )
        self.status = done.returncode
        self.out = done.stdout.decode("utf-8", "surrogateescape")
        self.err = done.stderr.decode("utf-8", "surrogateescape")
        assert "Traceback" not in self.err


def write(place: Path, **files: str) -> None:
    for name, content in files.items():
        (place / name).write_text(content)
