"""SSH: our command beside scp, sftp, rsync and rclone, against an OpenSSH server on loopback.

usage: python -m benchmarks.bench_ssh [--rounds 3] [--sets large,small,tiny] [--ways up,down]
                                      [--tools ours,scp,sftp,rsync,rclone] [--ours DIR]

The same files and the same cipher for all (rclone chooses its own); ours also takes a sha256 of every
stream, rclone's checks are off. Rounds go round the tools, so that a noisy minute hits all of them; medians
and best runs are told, with the client's CPU seconds. Files lie in /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure, servers

CIPHER = "aes128-gcm@openssh.com"


class Files(NamedTuple):
    """So many files of so many bytes; ``against``: our time must be at most ``bar`` times that tool's."""

    count: int
    size: int
    against: str
    bar: float


SETS = {
    "large": Files(1, 2 << 30, "scp", 1.1),
    "small": Files(2_000, 64 << 10, "sftp", 0.5),
    "tiny": Files(10_000, 4 << 10, "sftp", 0.3),
}
SERVER = """
Port {port}
ListenAddress 127.0.0.1
HostKey {home}/host_key
AuthorizedKeysFile {home}/key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""
CLIENT = """
Host box
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {home}/key
  IdentitiesOnly yes
  UserKnownHostsFile {home}/known_hosts
  BatchMode yes
  Ciphers {cipher}
"""


class Box(NamedTuple):
    """The server, and what clients need to get in."""

    home: Path
    port: int
    user: str

    @property
    def config(self) -> str:
        return str(self.home / "ssh_config")


@contextmanager
def sshd(home: Path) -> Iterator[Box]:
    """An OpenSSH server with keys of its own."""
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (port,) = servers.free_ports(1)
    user = pwd.getpwuid(os.geteuid()).pw_name
    for name in ("host_key", "key"):
        subprocess.run(
            [servers.program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True
        )
    words = {"home": home, "port": port, "user": user, "cipher": CIPHER}
    (home / "sshd_config").write_text(SERVER.format(**words))
    (home / "ssh_config").write_text(CLIENT.format(**words))
    key = " ".join((home / "host_key.pub").read_text().split()[:2])
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    credentials = home / "credentials.conf"
    credentials.touch(mode=0o600)
    credentials.write_text(
        f"[127.0.0.1:{port}]\nprivate_key = {home}/key\nknown_hosts = {home}/known_hosts\n"
    )
    argv = [servers.program("sshd"), "-D", "-e", "-f", str(home / "sshd_config")]
    login = [servers.program("ssh"), "-F", str(home / "ssh_config"), "box", "true"]

    def ready() -> bool:
        return subprocess.run(login, capture_output=True, check=False).returncode == 0

    with servers.server(argv, home / "sshd.log", ready, signal.SIGTERM):
        yield Box(home, port, user)


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


def commands(box: Box, names: Sequence[str], up: bool, ours: str) -> dict[str, list[str]]:
    """What each tool is started with, to bring ``source`` to ``target``; one of them is at the box."""
    home, config = box.home, box.config
    source, target = f"{home}/source", f"{home}/target"
    far = "box:"
    pairs = (f"{source}/", far + target) if up else (f"{far}{source}/", target)
    remote = f":sftp,host=127.0.0.1,port={box.port},user={box.user},key_file={home}/key,"
    remote += f"known_hosts_file={home}/known_hosts,disable_hashcheck=true:"
    rclone = (source, remote + target) if up else (remote + source, target)
    found = {
        "ours": [f"{ours}/pegasus-transfer", "-f", specification(box, names, up)],
        "rsync": [servers.program("rsync"), "-a", "-e", f"ssh -F {config}", *pairs],
        "rclone": [servers.program("rclone"), "--config=", "copy", "--ignore-checksum", *rclone],
        "sftp": [servers.program("sftp"), "-q", "-F", config, "-b", batch(box, names, up), "box"],
    }
    if len(names) == 1:
        one = (f"{source}/{names[0]}", f"{far}{target}/{names[0]}")
        if not up:
            one = (f"{far}{source}/{names[0]}", f"{target}/{names[0]}")
        found["scp"] = [servers.program("scp"), "-q", "-F", config, *one]
    return found


def specification(box: Box, names: Sequence[str], up: bool) -> str:
    """Written to a file, as the planner would."""
    far = f"scp://{box.user}@127.0.0.1:{box.port}"

    def end(place: str, name: str, remote: bool) -> list[dict[str, str]]:
        site, url = ("box", far) if remote else ("local", "file://")
        return [{"site_label": site, "url": f"{url}{box.home}/{place}/{name}"}]

    entries = [
        {
            "type": "transfer",
            "id": number,
            "src_urls": end("source", name, not up),
            "dest_urls": end("target", name, up),
        }
        for number, name in enumerate(names, 1)
    ]
    path = box.home / "specification.json"
    path.write_text(json.dumps(entries))
    return str(path)


def batch(box: Box, names: Sequence[str], up: bool) -> str:
    """The same for sftp."""
    verb = "put" if up else "get"
    lines = [f"{verb} {box.home}/source/{name} {box.home}/target/{name}" for name in names]
    path = box.home / "batch"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def one_run(box: Box, tool: str, argv: Sequence[str], names: Sequence[str]) -> measure.Usage:
    """Runs it into an empty target; fails when a file is missing afterwards."""
    target = box.home / "target"
    shutil.rmtree(target, ignore_errors=True)
    for name in names if tool in ("sftp", "scp") else ():  # they make no directories by themselves
        (target / name).parent.mkdir(parents=True, exist_ok=True)
    usage = measure.run([argv], {"PEGASUS_CREDENTIALS": str(box.home / "credentials.conf")})
    arrived = sum(1 for path in target.rglob("file*") if path.is_file())
    if usage.code != 0 or arrived != len(names):
        raise RuntimeError(
            f"{tool} failed, exit {usage.code}, {arrived} of {len(names)} files:\n{usage.output}"
        )
    return usage


def bench(box: Box, name: str, up: bool, options: argparse.Namespace) -> bool:
    """Measures one set in one direction; whether our bar is met, as far as its tools were measured."""
    files = SETS[name]
    shutil.rmtree(box.home / "source", ignore_errors=True)
    names = make(box.home / "source", files)
    wanted, rounds = options.tools.split(","), options.rounds
    tools = {tool: argv for tool, argv in commands(box, names, up, options.ours).items() if tool in wanted}
    figures: dict[str, list[measure.Usage]] = {tool: [] for tool in tools}
    for _ in range(rounds):
        for tool, argv in tools.items():
            figures[tool].append(one_run(box, tool, argv, names))
    seconds = {tool: statistics.median(u.seconds for u in usages) for tool, usages in figures.items()}
    print(f"\n{name} {'up' if up else 'down'}: {files.count} x {files.size} bytes, {rounds} rounds")
    for tool, median in sorted(seconds.items(), key=lambda item: item[1]):
        cpu = statistics.median(u.cpu for u in figures[tool])
        best = min(u.seconds for u in figures[tool])
        rate = f"{files.count / median:8.0f} files/s {files.count * files.size / median / 1e6:5.0f} MB/s"
        ratio = f"ours / it: {seconds['ours'] / median:.2f}"
        print(f"  {tool:8}{median:7.2f} s (best {best:.2f}, cpu {cpu:.2f}) {rate}  {ratio}")
    met = seconds["ours"] <= files.bar * seconds.get(files.against, math.inf)
    ahead = all(seconds["ours"] < seconds.get(tool, math.inf) for tool in ("rsync", "rclone"))
    verdict = "met" if met and ahead else "NOT met"
    print(f"  bar {files.bar} x {files.against} and ahead of rsync and rclone: {verdict}", flush=True)
    return met and ahead


def main() -> int:
    """0 when all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--ways", default="up,down")
    parser.add_argument("--tools", default="ours,scp,sftp,rsync,rclone")
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-ssh-", dir="/dev/shm") as directory:
        home = Path(directory)
        with sshd(home) as box:
            met = [
                bench(box, name, way == "up", options)
                for name in options.sets.split(",")
                for way in options.ways.split(",")
            ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
