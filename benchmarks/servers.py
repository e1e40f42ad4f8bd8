"""The real servers that the benchmarks and the demonstration talk to, on free ports of loopback."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

START_LIMIT = 60.0  # seconds
ACCESS, SECRET = "benchkey", "benchsecret123"


class S3(NamedTuple):
    """A running SeaweedFS: its S3 endpoint, and the filer beneath."""

    endpoint: str
    filer: str

    def drop(self, bucket: str) -> None:
        """Removes a bucket and all in it at once (by way of the filer)."""
        url = f"{self.filer}/buckets/{bucket}?recursive=true"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=60):
            pass

    def make(self, bucket: str) -> None:
        """An empty bucket."""
        url = f"{self.filer}/buckets/{bucket}/?op=mkdir"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60):
            pass

    def warm(self, bucket: str) -> None:
        """Writes to a bucket for the first time: the server grows its volumes then."""
        url = f"{self.filer}/buckets/{bucket}/first"
        for method, body in (("PUT", b"x"), ("DELETE", None)):
            request = urllib.request.Request(url, data=body, method=method)
            with urllib.request.urlopen(request, timeout=60):
                pass


def program(name: str) -> str:
    """Its path: beside this Python, on PATH, or where servers are kept. Raises ``FileNotFoundError``."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now.

    Below 32768: above, the system takes ports for outgoing connections, perhaps one of these.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.add(port)
    return list(ports)


@contextmanager
def seaweedfs(directory: Path) -> Iterator[S3]:
    """A SeaweedFS with S3 whose data lie in ``directory``, ready for the first upload."""
    directory.mkdir(parents=True)
    config = directory / "s3.json"
    key = {"accessKey": ACCESS, "secretKey": SECRET}
    allowed = ["Admin", "Read", "List", "Tagging", "Write"]
    identity = {"name": "bench", "credentials": [key], "actions": allowed}
    config.write_text(json.dumps({"identities": [identity]}))
    names = ["master.port", "volume.port", "filer.port", "s3.port"]
    names += [f"{name}.grpc" for name in names]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    argv = [program("weed"), f"-logdir={directory}", "server", f"-dir={directory}", "-ip=127.0.0.1"]
    argv += ["-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={config}", "-s3.iam=false"]
    argv += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-filer.localSocket={directory}/filer.sock"]
    argv += ["-volume.max=200", "-master.volumeSizeLimitMB=1024", "-volume.preStopSeconds=0"]
    argv += ["-master.telemetry=false", *(f"-{name}={port}" for name, port in ports.items())]
    s3 = S3(f"http://127.0.0.1:{ports['s3.port']}", f"http://127.0.0.1:{ports['filer.port']}")

    def ready() -> bool:
        request = urllib.request.Request(f"{s3.filer}/ready", data=b"x", method="PUT")
        return answers(request) and answers(urllib.request.Request(s3.endpoint))

    with server(argv, directory / "weed.log", ready, signal.SIGKILL):
        yield s3


@contextmanager
def nginx(directory: Path, root: Path) -> Iterator[str]:
    """An nginx that serves ``root``; yields its URL without a slash at the end."""
    (directory / "tmp").mkdir(parents=True)
    (port,) = free_ports(1)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {directory}/tmp/{kind};\n" for kind in kinds)
    config = directory / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n"
        + ("user root;\n" if os.geteuid() == 0 else "")
        + "events { worker_connections 512; }\n"
        + f"http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;\n{temporary}"
        + f"server {{ listen 127.0.0.1:{port}; location / {{ root {root}; autoindex on; }} }} }}\n"
    )
    argv = [program("nginx"), "-c", str(config), "-p", str(directory), "-e", f"{directory}/error.log"]
    url = f"http://127.0.0.1:{port}"
    with server(argv, directory / "log", lambda: answers(urllib.request.Request(url)), signal.SIGTERM):
        yield url


def answers(request: urllib.request.Request) -> bool:
    """Whether a server answers well, or says that it wants a credential."""
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 403
    except OSError:
        return False


@contextmanager
def server(argv: Sequence[str], log: Path, ready: Callable[[], bool], end: signal.Signals) -> Iterator[None]:
    """Starts a server, waits until it is ready, and ends it by its process id."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        limit = time.monotonic() + START_LIMIT
        while not ready():
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"{argv[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(end)
        process.wait(20)
