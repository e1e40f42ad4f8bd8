"""How long a specification of a million entries takes to load, and how much memory.

    python benchmarks/bench_spec.py [entries] [clean|planner|checksum|spelled]

Writes it to a temporary directory (memory, where there is /dev/shm), loads it in a process of its
own, and prints seconds and peak memory of: loading, and loading and iterating.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MEASURE = """
import resource, sys, time
from pegasus_toolkit.transfer import spec
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
start = time.perf_counter()
loaded = spec.load(sys.argv[1], {"PWD": "/scratch"})
print(f"load     {time.perf_counter() - start:6.2f} s  {peak():6.0f} MiB  {loaded.counts}")
start = time.perf_counter()
for one in loaded: pass
print(f"iterate  {time.perf_counter() - start:6.2f} s  {peak():6.0f} MiB")
"""


def clean(n: int) -> dict[str, object]:
    name = f"run0001/{n // 1000:04d}/f.{n:08d}.dat"
    return {
        "type": "transfer",
        "id": n,
        "lfn": f"f.{n:08d}.dat",
        "src_urls": [{"site_label": "local", "url": f"file:///data/{name}"}],
        "dest_urls": [{"site_label": "local", "url": f"file:///scratch/{name}"}],
    }


def planner(n: int) -> dict[str, object]:
    """As PegasusLite writes it."""
    entry = {"linkage": "input", "verify_symlink_source": False, **clean(n)}
    entry["src_urls"] = [
        {"site_label": "a", "url": f"https://a.org/d/{n}", "priority": 100, "checkpoint": "false"},
        {"site_label": "b", "url": f"s3://user@b/bucket/{n}", "checkpoint": "false"},
    ]
    entry["dest_urls"] = [{"site_label": "c", "url": f"file://$PWD/{n}"}]
    return entry


def checksum(n: int) -> dict[str, object]:
    return {**clean(n), "attributes": {"checksum.type": "sha256", "checksum.value": f"{n:064x}", "size": "1"}}


def spelled(n: int) -> dict[str, object]:
    """Every entry by the slow way."""
    return {**clean(n), "generate_checksum": "true"}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    kinds: dict[str, Callable[[int], dict[str, object]]] = {
        "clean": clean,
        "planner": planner,
        "checksum": checksum,
        "spelled": spelled,
    }
    shape = kinds[sys.argv[2]] if len(sys.argv) > 2 else clean
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        path = Path(directory) / "spec.json"
        with path.open("w") as file:
            file.write("[\n")
            for n in range(count):
                file.write((",\n" if n else "") + json.dumps(shape(n)))
            file.write("\n]\n")
        print(f"{count} entries ({shape.__name__}), {path.stat().st_size / 1e6:.0f} MB", flush=True)
        subprocess.run([sys.executable, "-c", MEASURE, str(path)], check=True)


if __name__ == "__main__":
    main()
