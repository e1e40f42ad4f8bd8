"""Two stages, HTTP to SFTP, through the whole command: its memory, and that it makes no temporary file.

usage: python -m benchmarks.bench_relay [--size MIB] [--rounds 3] [--ours DIR]

A real nginx gives one file, a real OpenSSH server takes it; both, and their files, are on this machine in
/dev/shm. The expected sha256 is in the specification, and what arrived is hashed again afterwards. While
the command runs, the kernel is asked every 20 ms what it and its children hold open for writing and how
much memory they took at most. ``tests/test_relay_memory.py`` runs the same with a small file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks import servers
from tests.servers import sshd

LIMIT = 200  # MiB that the command may take, whatever the file's size
LOOK = 0.02  # seconds between looks


class Seen(NamedTuple):
    """``memory``: peak of each program, MiB; ``written``: files that were open for writing, or left."""

    code: int
    seconds: float
    memory: dict[str, float]
    written: set[str]
    output: str


def watch(argv: Sequence[str], environ: Mapping[str, str], directory: Path) -> Seen:
    """Runs a program in an empty directory, which is its TMPDIR too."""
    directory.mkdir()
    memory: dict[str, float] = {}
    written: set[str] = set()
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            argv,
            env={**environ, "TMPDIR": str(directory), "HOME": str(directory), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        console = os.fstat(output.fileno()).st_ino
        while process.poll() is None:
            for pid in tree(process.pid):
                with suppress(OSError):  # it has ended meanwhile
                    look(pid, memory, written, console)
            time.sleep(LOOK)
        seconds = time.monotonic() - began
        output.seek(0)
        text = output.read().decode(errors="replace")
    written.update(str(path) for path in directory.rglob("*") if path.is_file())
    return Seen(process.returncode, seconds, memory, written, text)


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:  # grows
        for children in Path(f"/proc/{one}/task").glob("*/children"):  # of each thread
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def look(pid: int, memory: dict[str, float], written: set[str], console: int) -> None:
    """Adds what one process holds just now."""
    process = Path("/proc", str(pid))
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            name = (process / "comm").read_text().strip()
            memory[name] = max(memory.get(name, 0.0), int(line.split()[1]) / 1024)
    for link in (process / "fd").iterdir():
        with suppress(OSError):
            info = link.stat()
            flags = (process / "fdinfo" / link.name).read_text().split("flags:")[1].split()[0]
            writing = int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
            if writing and stat.S_ISREG(info.st_mode) and info.st_ino != console:
                written.add(os.readlink(link))  # noqa: PTH115  not a path, where the file was removed


def make(path: Path, size: int) -> str:
    """Writes the file; its sha256."""
    block, digest = os.urandom(min(size, 16 << 20)), hashlib.sha256()
    with path.open("wb") as out:
        for _ in range(size // len(block)):
            out.write(block)
            digest.update(block)
    return digest.hexdigest()


def relay(home: Path, size: int, ours: str) -> Seen:
    """One file of ``size`` bytes (a multiple of 16 MiB) moved in ``home``. Raises where it did not arrive."""
    for name in ("web", "nginx", "ssh"):
        (home / name).mkdir()
    digest = make(home / "web" / "file", size)
    with servers.nginx(home / "nginx", home / "web") as url, sshd.serving(home / "ssh") as server:
        target = home / "arrived"
        credentials = home / "credentials.conf"
        credentials.touch(mode=0o600)
        credentials.write_text(
            f"[127.0.0.1:{server.port}]\nprivate_key = {server.key}\nknown_hosts = {server.known_hosts}\n"
        )
        entry = {
            "type": "transfer",
            "checksum": {"type": "sha256", "value": digest},
            "src_urls": [{"site_label": "web", "url": f"{url}/file"}],
            "dest_urls": [{"site_label": "box", "url": f"sftp://{server.authority}{target}"}],
        }
        (home / "specification.json").write_text(json.dumps([entry]))
        environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(credentials)}
        argv = [f"{ours}/pegasus-transfer", "-f", str(home / "specification.json")]
        seen = watch(argv, environ, home / "empty")
    if seen.code != 0:
        raise RuntimeError(f"exit {seen.code}:\n{seen.output}")
    arrived = hashlib.sha256()
    with target.open("rb") as file:
        while block := file.read(1 << 20):
            arrived.update(block)
    if arrived.hexdigest() != digest:
        raise RuntimeError("something else arrived")
    return seen


def main() -> int:
    """0 when the memory stays below the limit and no file was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="MiB, a multiple of 16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    options = parser.parse_args()
    runs = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-relay-", dir="/dev/shm") as directory:
            runs.append(relay(Path(directory), options.size << 20, options.ours))
    seconds = statistics.median(run.seconds for run in runs)
    peak = max(run.memory["pegasus-transfe"] for run in runs)
    others = {name: round(mib) for run in runs for name, mib in run.memory.items()}
    written = set().union(*(run.written for run in runs))
    print(f"{options.size} MiB, http to sftp: {seconds:.2f} s, {options.size * 1.048576 / seconds:.0f} MB/s")
    print(f"peak memory {peak:.0f} MiB of {LIMIT} (all programs: {others})")
    print(f"files written here: {', '.join(sorted(written)) or 'none'}")
    return 0 if peak < LIMIT and not written else 1


if __name__ == "__main__":
    sys.exit(main())
