"""HTTP to SFTP through the whole command: bytes pass through memory, not much of it, and no file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks import bench_relay
from tests.command import PROGRAM

SIZE = 64 << 20


def test_relay_takes_little_memory_and_no_file(tmp_path: Path) -> None:
    seen = bench_relay.relay(tmp_path, SIZE, str(Path(PROGRAM).parent))
    assert seen.written == set()
    assert 10 < seen.memory["pegasus-transfe"] < bench_relay.LIMIT


def test_the_watch_sees_files_and_memory(tmp_path: Path) -> None:
    """Also a file that has no name any more, in a child; else the other test could not fail."""
    program = (
        "import os, tempfile, time\n"
        "file = tempfile.TemporaryFile()\n"
        "open('kept', 'w').close()\n"
        "data = bytearray(300 << 20)\n"
        "time.sleep(0.3)\n"
    )
    argv = [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])",
    ]
    seen = bench_relay.watch(argv, {"PATH": os.environ["PATH"]}, tmp_path / "here")
    assert seen.code == 0, seen.output
    assert max(seen.memory.values()) > 300
    assert str(tmp_path / "here/kept") in seen.written
    assert any(name.endswith("(deleted)") for name in seen.written)
