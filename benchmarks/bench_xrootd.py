"""XRootD beside ``xrdcp``: the figures of docs/decisions/0006-xrootd-client.md.

    python -m benchmarks.bench_xrootd [ROUNDS] [large] [medium] [small] [tiny]

A real server serves files from /dev/shm on loopback. Ours is the whole command, with the sha256 of every
file and every file written aside and renamed; ``xrdcp`` (four files at once) takes no digest. They
alternate; medians are printed, and the CPU seconds of the client.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.command import PROGRAM
from tests.servers.xrootd import Xrootd, serve

SETS = {"large": (1, 2 << 30), "medium": (200, 5 << 20), "small": (2000, 64 << 10), "tiny": (5000, 4096)}


def ours(pairs: Sequence[tuple[str, str]], directory: Path) -> None:
    entries = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "local", "url": source}],
            "dest_urls": [{"site_label": "local", "url": destination}],
        }
        for source, destination in pairs
    ]
    (directory / "in").write_text(json.dumps(entries))
    subprocess.run([PROGRAM, "-f", str(directory / "in")], check=True, capture_output=True, cwd=directory)


def xrdcp_down(server: Xrootd, directory: Path) -> None:
    call("-r", f"root://{server.authority}//data/from/", str(directory / "down"))


def xrdcp_up(server: Xrootd, directory: Path) -> None:
    call("-r", str(directory / "up"), f"root://{server.authority}//data/to/")


def call(*arguments: str) -> None:
    subprocess.run(["xrdcp", "--parallel", "4", "-f", "-s", *arguments], check=True)


def timed(action: Callable[[], None]) -> tuple[float, float]:
    """Seconds, and CPU seconds of the programs that it ran."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    action()
    seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(server: Xrootd, directory: Path, count: int, size: int, rounds: int) -> None:
    data = os.urandom(min(size, 1 << 24))
    names = [f"f{n}" for n in range(count)]
    (directory / "up").mkdir(parents=True)
    server.make("data/from")
    for name in names:
        for place in (server.data / "from" / name, directory / "up" / name):
            with place.open("wb") as file:
                for _ in range(max(1, size // len(data))):
                    file.write(data)
            place.chmod(0o644)
    base = f"root://{server.authority}//data"
    down = [(f"{base}/from/{name}", f"file://{directory}/down/{name}") for name in names]
    up = [(f"file://{directory}/up/{name}", f"{base}/to/{name}") for name in names]
    ways: dict[str, Callable[[], None]] = {
        "down ours": lambda: ours(down, directory),
        "down xrdcp": lambda: xrdcp_down(server, directory),
        "up ours": lambda: ours(up, directory),
        "up xrdcp": lambda: xrdcp_up(server, directory),
    }
    took: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, action in ways.items():
            shutil.rmtree(directory / "down", ignore_errors=True)
            shutil.rmtree(server.data / "to", ignore_errors=True)
            (directory / "down").mkdir()
            server.make("data/to")
            took[way].append(timed(action))
    total = count * size
    for way, results in took.items():
        seconds = statistics.median(one for one, _ in results)
        cpu = statistics.median(one for _, one in results)
        print(
            f"{count:5} x {size:10}  {way:10} {seconds:6.2f} s  {total / seconds / 1e6:6.0f} MB/s"
            f"  {count / seconds:6.0f} files/s  {cpu:5.2f} s CPU",
            flush=True,
        )


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for name in sys.argv[2:] or SETS:
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-xrootd-") as place:
            home = Path(place, "home")
            home.mkdir()
            Path(place).chmod(0o755)
            home.chmod(0o755)
            with serve(home) as server:
                measure(server, Path(place, "here"), *SETS[name], rounds)


if __name__ == "__main__":
    main()
