"""Which HTTP client, and where the digest is taken: the figures of docs/decisions/0001-http-client.md.

    python -m benchmarks.bench_http_clients [ROUNDS] [large] [medium] [small]

nginx serves files from /dev/shm on loopback; each variant writes them there again and takes their
sha256 (curl takes none). Variants alternate, each in a process of its own; medians are printed.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import queue
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pycurl

from tests.servers.common import free_port, listens, running

SETS = {"large": (1, 1 << 30), "medium": (100, 5 << 20), "small": (5000, 4096)}
BLOCK = 1 << 20


class File:
    """A file in the making, with its digest."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.hasher = hashlib.sha256()

    def write(self, data: Any) -> None:
        self.hasher.update(data)
        os.write(self.fd, data)

    def close(self) -> None:
        os.close(self.fd)


class Behind:
    """Hashes and writes in a thread, one block behind."""

    def __init__(self, path: str) -> None:
        self.file = File(path)
        self.free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self.work: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        for _ in range(4):
            self.free.put(memoryview(bytearray(BLOCK)))
        self.block, self.at = self.free.get(), 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while (data := self.work.get()) is not None:
            self.file.write(data)
            self.free.put(memoryview(data.obj))

    def write(self, data: bytes) -> None:
        if self.at + len(data) > BLOCK:
            self.hand_on(self.at)
        self.block[self.at : self.at + len(data)] = data
        self.at += len(data)

    def hand_on(self, n: int) -> None:
        self.work.put(self.block[:n])
        self.block, self.at = self.free.get(), 0

    def close(self) -> None:
        self.hand_on(self.at)
        self.work.put(None)
        self.thread.join()
        self.file.close()


def multi(base: str, names: list[str], out: str, make: Callable[[str], Any], receive: int) -> None:
    """CurlMulti, 8 in flight."""
    waiting, loop, files, active = iter(names), pycurl.CurlMulti(), {}, 0

    def start(handle: Any) -> int:
        name = next(waiting, None)
        if name is None:
            return 0
        files[handle] = file = make(f"{out}/{name}")
        handle.setopt(pycurl.URL, base + name)
        handle.setopt(pycurl.WRITEFUNCTION, file.write)
        loop.add_handle(handle)
        return 1

    for _ in range(8):
        handle = pycurl.Curl()
        handle.setopt(pycurl.BUFFERSIZE, receive)
        active += start(handle)
    while active:
        loop.perform()
        _, done, failed = loop.info_read()
        assert not failed
        for handle in done:
            loop.remove_handle(handle)
            files.pop(handle).close()
            active += start(handle) - 1
        if not done:
            loop.select(0.1)


def client(base: str, names: list[str], out: str, behind: bool) -> None:
    """http.client with readinto, in one thread."""
    connection = http.client.HTTPConnection(base.split("/")[2])
    block = memoryview(bytearray(BLOCK))
    for name in names:
        connection.request("GET", f"/{name}")
        response = connection.getresponse()
        file = Behind(f"{out}/{name}") if behind else File(f"{out}/{name}")
        into = file.block if isinstance(file, Behind) else block
        while n := response.readinto(into):
            if isinstance(file, Behind):
                file.hand_on(n)
                into = file.block
            else:
                file.write(into[:n])
        file.close()


def ours(base: str, names: list[str], out: str) -> None:
    from pegasus_toolkit.credentials import Credentials
    from pegasus_toolkit.transfer.backends.http.backend import open_backend
    from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings, Sink
    from pegasus_toolkit.transfer.streams.files import FileSink

    want, control = Requirement(), Control()
    backend = open_backend(Endpoint("http", base.split("/")[2], ""), Settings(Credentials.none()))
    jobs = (Job[Sink](f"/{n}", "", want, FileSink(f"{out}/{n}", want, control)) for n in names)
    for job in backend.get(jobs):
        assert job.error is None, job.error
        job.end.commit()
    backend.close()


def curl(base: str, names: list[str], out: str) -> None:
    text = "".join(f'url = "{base}{name}"\noutput = "{out}/{name}"\n' for name in names)
    argv = ["curl", "-s", "-Z", "--parallel-max", "8", "-K", "-"]
    if len(names) == 1:
        argv = ["curl", "-s", "-K", "-"]
    subprocess.run(argv, input=text.encode(), check=True, stderr=subprocess.DEVNULL)


VARIANTS: dict[str, Callable[[str, list[str], str], None]] = {
    "curl, no digest": curl,
    "ours": ours,
    "CurlMulti, 16 KiB, inline": lambda b, n, o: multi(b, n, o, File, 16 << 10),
    "CurlMulti, 512 KiB, inline": lambda b, n, o: multi(b, n, o, File, 512 << 10),
    "CurlMulti, 512 KiB, thread": lambda b, n, o: multi(b, n, o, Behind, 512 << 10),
    "http.client, inline": lambda b, n, o: client(b, n, o, False),
    "http.client, thread": lambda b, n, o: client(b, n, o, True),
}


def run(variant: str, base: str, names: list[str], directory: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one run in a child process."""
    out = directory / "out"
    out.mkdir()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        VARIANTS[variant](base, names, str(out))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    wall = time.perf_counter() - start
    assert status == 0, variant
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def server(directory: Path) -> Iterator[str]:
    port = free_port()
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/pid; user root; events {{ }} "
        f"http {{ access_log off; sendfile on; keepalive_requests 1000000; "
        f"server {{ listen 127.0.0.1:{port}; root {directory}/data; }} }}"
    )
    argv = ["nginx", "-c", f"{directory}/nginx.conf", "-p", str(directory), "-e", f"{directory}/error.log"]
    with running(argv, directory / "log", lambda: listens(port)):
        yield f"http://127.0.0.1:{port}/"


def main(arguments: list[str]) -> None:
    rounds = int(arguments[0]) if arguments else 3
    for chosen in arguments[1:] or SETS:
        count, size = SETS[chosen]
        directory = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="bench-http-"))
        try:
            (directory / "data").mkdir()
            names = [f"{n}" for n in range(count)]
            for name in names:
                (directory / "data" / name).write_bytes(os.urandom(size))
            variants = [v for v in VARIANTS if size >= BLOCK or "thread" not in v]  # a thread a file
            with server(directory) as base:
                found: dict[str, list[tuple[float, float]]] = {variant: [] for variant in variants}
                for _ in range(rounds):
                    for variant, times in found.items():
                        times.append(run(variant, base, names, directory))
        finally:
            shutil.rmtree(directory)
        for variant, times in found.items():
            wall, cpu = (statistics.median(t[i] for t in times) for i in (0, 1))
            best = min(t[0] for t in times)
            rate = (
                f"{count / wall:8.0f} files/s" if size < BLOCK else f"{count * size / wall / 1e6:8.0f} MB/s"
            )
            print(
                f"{chosen:7} {variant:28} {rate}  median {wall:6.3f} s  best {best:6.3f} s  cpu {cpu:6.3f} s"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
