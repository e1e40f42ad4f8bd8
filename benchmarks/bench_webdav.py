"""WebDAV: our command beside rclone, against Apache's mod_dav on loopback.

usage: python -m benchmarks.bench_webdav [--rounds 3] [--sets large,middle,tiny] [--ways up,down]
                                         [--ours DIR] [--rclone PROGRAM]

Ours takes a sha256 of every stream, and writes aside and renames; rclone's checks are off, it writes under
final names. Rounds go round the tools, so that a noisy minute hits all of them; medians and best runs are
told, with the client's CPU seconds. Files lie in /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure, servers

BAR = 1.1  # our time, at most, as a multiple of rclone's


class Files(NamedTuple):
    """So many files of so many bytes."""

    count: int
    size: int


SETS = {"large": Files(1, 512 << 20), "middle": Files(60, 5 << 20), "tiny": Files(300, 4 << 10)}
MODULES = "mpm_event authz_core dav dav_fs alias unixd"
SERVER = """
ServerRoot {home}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {home}/pid
DefaultRuntimeDir {home}
ErrorLog {home}/error.log
MaxKeepAliveRequests 0
{modules}
DocumentRoot {home}/data
DavLockDB {home}/lock
Alias /dav {home}/data
<Location /dav>
  Dav On
  Require all granted
</Location>
{account}
"""


class Dav(NamedTuple):
    """The server: its URL, and the directory with its files."""

    home: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dav"

    @property
    def data(self) -> Path:
        return self.home / "data"


@contextmanager
def apache(home: Path) -> Iterator[Dav]:
    """An Apache whose files anybody may write."""
    (port,) = servers.free_ports(1)
    home.chmod(0o777)
    clear(home / "data")
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so"
        for name in MODULES.split()
        if Path(f"/usr/lib/apache2/modules/mod_{name}.so").exists()
    )
    account = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    config = home / "httpd.conf"
    config.write_text(SERVER.format(home=home, port=port, modules=modules, account=account))
    argv = [servers.program("apache2"), "-D", "FOREGROUND", "-f", str(config)]
    dav = Dav(home, port)
    with servers.server(
        argv,
        home / "log",
        lambda: servers.answers(urllib.request.Request(f"{dav.url}/ready")),
        signal.SIGTERM,
    ):
        yield dav


def clear(directory: Path) -> None:
    """Makes it empty, and writable by the server's account."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    directory.chmod(0o777)
    if directory.name == "data":
        (directory / "ready").write_bytes(b"")
        (directory / "files").mkdir()  # rclone makes no directory above its own
        (directory / "files").chmod(0o777)


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


def specification(dav: Dav, near: Path, names: Sequence[str], up: bool) -> str:
    """Written to a file, as the planner would."""

    def end(name: str, remote: bool) -> list[dict[str, str]]:
        far = f"webdav://127.0.0.1:{dav.port}/dav/files/{name}"
        return [
            {"site_label": "dav" if remote else "local", "url": far if remote else f"file://{near}/{name}"}
        ]

    entries = [
        {"type": "transfer", "id": n, "src_urls": end(name, not up), "dest_urls": end(name, up)}
        for n, name in enumerate(names, 1)
    ]
    path = dav.home / "specification.json"
    path.write_text(json.dumps(entries))
    return str(path)


def bench(dav: Dav, name: str, up: bool, options: argparse.Namespace) -> bool:
    """Measures one set in one direction; whether our bar is met."""
    files, near, far = SETS[name], dav.home / "near", dav.data / "files"
    clear(dav.data)
    clear(near)
    names = make(near if up else far, files)
    remote = f':webdav,url="{dav.url}/files",vendor=other:'
    rclone = [options.rclone, "--config=", "copy", "--ignore-checksum", "--no-update-modtime"]
    ends = [str(near), remote] if up else [remote, str(near)]
    tools = {
        "ours": [f"{options.ours}/pegasus-transfer", "-f", specification(dav, near, names, up)],
        "rclone": [*rclone, *ends],
        "rclone8": [*rclone, "--transfers=8", "--checkers=8", *ends],
    }
    figures: dict[str, list[measure.Usage]] = {tool: [] for tool in tools}
    for _ in range(options.rounds):
        for tool, argv in tools.items():
            clear(dav.data if up else near)
            usage = measure.run([argv])
            arrived = sum(1 for path in (far if up else near).rglob("file*") if path.is_file())
            if usage.code != 0 or arrived != files.count:
                raise RuntimeError(f"{tool}: exit {usage.code}, {arrived} files:\n{usage.output}")
            figures[tool].append(usage)
    return told(name, up, files, figures)


def told(name: str, up: bool, files: Files, figures: dict[str, list[measure.Usage]]) -> bool:
    """Prints the figures; whether our bar is met."""
    seconds = {tool: statistics.median(u.seconds for u in usages) for tool, usages in figures.items()}
    rounds = len(figures["ours"])
    print(f"\n{name} {'up' if up else 'down'}: {files.count} x {files.size} bytes, {rounds} rounds")
    for tool, median in sorted(seconds.items(), key=lambda item: item[1]):
        cpu = statistics.median(u.cpu for u in figures[tool])
        best = min(u.seconds for u in figures[tool])
        rate = f"{files.count / median:8.0f} files/s {files.count * files.size / median / 1e6:5.0f} MB/s"
        print(f"  {tool:8}{median:7.2f} s (best {best:.2f}, cpu {cpu:.2f}) {rate}")
    met = seconds["ours"] <= BAR * min(median for tool, median in seconds.items() if tool != "ours")
    print(f"  bar {BAR} x the better rclone: {'met' if met else 'NOT met'}", flush=True)
    return met


def main() -> int:
    """0 when all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default="up,down")
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    parser.add_argument("--rclone", default="rclone")
    options = parser.parse_args()
    temporary = tempfile.TemporaryDirectory(prefix="bench-dav-", dir="/dev/shm")
    with temporary as directory, apache(Path(directory)) as dav:
        met = [
            bench(dav, name, way == "up", options)
            for name in options.sets.split(",")
            for way in options.ways.split(",")
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
