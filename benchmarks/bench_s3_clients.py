"""Which client moves the bytes of S3 best: obstore, our own signed requests, s3fs.

    python -m benchmarks.bench_s3_clients [DIRECTORY]

Starts SeaweedFS in a directory (default: a temporary one), takes turns, prints medians. Backs the
figures of docs/decisions/0002-s3-client.md.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.s3 import backend as s3
from pegasus_toolkit.transfer.backends.s3.wire import Request
from pegasus_toolkit.transfer.interface import Endpoint, Settings
from tests.servers.seaweed import IDENTITIES, Seaweed, serve

ROUNDS = 3
THREADS = 8
SETS = {"4 KiB": (1500, 4096), "1 MiB": (100, 1 << 20), "5 MiB": (30, 5 << 20)}
Verb = Callable[[str, bytes], object]
Open = Callable[[], tuple[Verb, Verb]]  # what a thread puts and gets with


def by_obstore(settings: Settings) -> Open:
    import obstore

    def opened() -> tuple[Verb, Verb]:
        stores = s3.open_backend(Endpoint("s3", "admin@weed", "weed"), settings)._stores
        store = stores._store("bench")
        return (
            lambda key, data: obstore.put(store, key, data, use_multipart=False),
            lambda key, data: len(obstore.get(store, key).bytes()),
        )

    return opened


def by_wire(server: Seaweed) -> Open:
    def opened() -> tuple[Verb, Verb]:
        wire = server.wire()
        block = memoryview(bytearray(1 << 20))

        def get(key: str, data: bytes) -> None:
            reply = wire.send(Request("GET", "bench", key))
            while reply.readinto(block):
                pass

        return lambda key, data: wire.send(Request("PUT", "bench", key, body=data)).read(), get

    return opened


def by_s3fs(server: Seaweed) -> Open:
    import s3fs

    access, secret, _ = IDENTITIES["admin"]
    options = {"endpoint_url": server.endpoint, "region_name": "us-east-1"}

    def opened() -> tuple[Verb, Verb]:
        system = s3fs.S3FileSystem(key=access, secret=secret, client_kwargs=options, use_listings_cache=False)
        return (
            lambda key, data: system.pipe_file(f"bench/{key}", data),
            lambda key, data: system.cat_file(f"bench/{key}"),
        )

    return opened


def timed(opened: Open, verb: int, count: int, data: bytes) -> float:
    """Seconds for ``count`` objects in ``THREADS`` threads; verb 0 puts, 1 gets."""
    keys: Iterator[int] = iter(range(count))
    lock = threading.Lock()

    def work() -> None:
        do = opened()[verb]
        while True:
            with lock:
                key = next(keys, None)
            if key is None:
                return
            do(f"{len(data)}/{key}", data)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def imports() -> None:
    for name in ("", "obstore.store", "http.client", "s3fs"):
        code = f"import {name}" if name else "pass"
        runs = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            runs.append(time.perf_counter() - started)
        print(f"start-up with {name or 'nothing':14} {median(runs) * 1000:5.0f} ms")


def main(directory: Path) -> None:
    imports()
    with serve(directory) as server:
        environ = {"PEGASUS_CREDENTIALS": str(server.credentials(directory))}
        settings = Settings(Credentials.load(environ), environ)
        s3.open_backend(Endpoint("s3", "admin@weed", "weed"), settings).mkdir("/bench")
        clients = {"obstore": by_obstore(settings), "own": by_wire(server), "s3fs": by_s3fs(server)}
        for name, (count, size) in SETS.items():
            data = bytes(range(256)) * (size // 256)
            for verb, label in enumerate(("up", "down")):
                runs: dict[str, list[float]] = {client: [] for client in clients}
                for _ in range(ROUNDS):
                    for client, opened in clients.items():
                        runs[client].append(timed(opened, verb, count, data))
                cells = [f"{client} {count / median(times):7.0f}/s" for client, times in runs.items()]
                print(f"{count} x {name} {label:4}", *cells, flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
