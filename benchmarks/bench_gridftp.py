"""GridFTP: our command beside globus-url-copy -f, for many small files, on a Globus server on loopback.

usage: python -m benchmarks.bench_gridftp [--rounds 3] [--count 2000] [--size 4096] [--ways up,down] [--plain]

Rounds go round the tools, so that a noisy minute hits all of them; medians are told. Ours takes a sha256
of every stream, stores uploads aside, checks the size that the server tells, and renames. globus-url-copy
checks nothing; it runs with ``-fast`` (data connections used again), and with all its switches for
speed (``tuned``). Without any it makes an authenticated connection for each file, which takes 25 times
as long: ``--plain`` measures that too. Needs the packages for tests; the server is the tests' own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import measure, servers
from tests.servers import grid_pki, gridftp

AGAINST, BAR = "guc -fast", 1.1
TOOLS = {"guc -fast": ["-fast"], "guc tuned": ["-fast", "-nodcau", "-pp", "-cc", "4"]}


@contextmanager
def grid_server(home: Path) -> Iterator[gridftp.GridFtpServer]:
    """A Globus server that serves ``home``, with a throw-away authority."""
    (home / "pki").mkdir()
    (home / "files").mkdir()
    with gridftp.serving(home, grid_pki.make(home / "pki"), data=home / "files") as server:
        yield server


def make(directory: Path, count: int, size: int) -> list[str]:
    """Writes the files, a hundred to a directory; their relative names."""
    names = [f"{n // 100:03d}/file{n:05d}" for n in range(count)]
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(os.urandom(size))
    return names


def ends(server: gridftp.GridFtpServer, name: str, up: bool) -> tuple[str, str]:
    """Source and destination of one file; one of them is at the server."""
    source, target = server.data / "source" / name, server.data / "target" / name
    here, there = (source, target) if up else (target, source)
    urls = (f"file://{here}", server.url(there))
    return urls if up else (urls[1], urls[0])


def commands(
    server: gridftp.GridFtpServer, names: Sequence[str], up: bool, ours: str, plain: bool
) -> dict[str, list[str]]:
    """What each tool is started with."""
    home = server.data.parent
    pairs = [ends(server, name, up) for name in names]
    (home / "list").write_text("".join(f"{source} {target}\n" for source, target in pairs))
    entries = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "a", "url": source}],
            "dest_urls": [{"site_label": "b", "url": target}],
        }
        for source, target in pairs
    ]
    (home / "specification.json").write_text(json.dumps(entries))
    guc = servers.program("globus-url-copy")
    tools = {**TOOLS, **({"guc plain": []} if plain else {})}
    found = {tool: [guc, *switches, "-cd", "-f", str(home / "list")] for tool, switches in tools.items()}
    return {"ours": [f"{ours}/pegasus-transfer", "-f", str(home / "specification.json")], **found}


def one_run(
    server: gridftp.GridFtpServer, tool: str, argv: Sequence[str], names: Sequence[str]
) -> measure.Usage:
    """Runs it into an empty target; fails when a file is missing afterwards."""
    target = server.data / "target"
    shutil.rmtree(target, ignore_errors=True)
    environ = gridftp.environment(server.grid, GLOBUS_HOSTNAME="localhost")
    usage = measure.run([argv], environ)
    arrived = sum(1 for path in target.rglob("file*") if path.is_file())
    if usage.code != 0 or arrived != len(names):
        raise RuntimeError(f"{tool}: exit {usage.code}, {arrived} of {len(names)} files:\n{usage.output}")
    return usage


def bench(server: gridftp.GridFtpServer, options: argparse.Namespace, up: bool) -> bool:
    """Measures one direction; whether our bar is met."""
    names = make(server.data / "source", options.count, options.size)
    tools = commands(server, names, up, options.ours, options.plain)
    figures: dict[str, list[measure.Usage]] = {tool: [] for tool in tools}
    for _ in range(options.rounds):
        for tool, argv in tools.items():
            figures[tool].append(one_run(server, tool, argv, names))
    seconds = {tool: statistics.median(u.seconds for u in usages) for tool, usages in figures.items()}
    print(f"\n{'up' if up else 'down'}: {options.count} x {options.size} bytes, {options.rounds} rounds")
    for tool, median in sorted(seconds.items(), key=lambda item: item[1]):
        best = min(u.seconds for u in figures[tool])
        cpu = statistics.median(u.cpu for u in figures[tool])
        rate = f"{options.count / median:7.0f} files/s"
        print(
            f"  {tool:10}{median:7.2f} s (best {best:5.2f})  cpu {cpu:5.2f} s {rate}"
            f"  ours / it: {seconds['ours'] / median:.2f}"
        )
    met = seconds["ours"] <= BAR * seconds[AGAINST]
    print(f"  bar {BAR} x {AGAINST}: {'met' if met else 'NOT met'}", flush=True)
    return met


def main() -> int:
    """0 when the bar is met both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--ways", default="up,down")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gridftp-", dir="/dev/shm") as directory:
        home = Path(directory)
        home.chmod(0o755)
        with grid_server(home) as server:
            met = [bench(server, options, way == "up") for way in options.ways.split(",")]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
