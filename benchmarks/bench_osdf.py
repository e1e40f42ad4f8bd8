"""A thousand small objects of a Pelican federation on loopback: ours beside a process for each file.

usage: python -m benchmarks.bench_osdf [--rounds 3] [--files 1000] [--ours DIR] [--upstream DIR]

``--upstream``: the directory of the ``pegasus-transfer`` of pegasus-wms-worker. It runs a stub in place of
``pelican`` that moves nothing and ends at once: what is told of it is what starting the processes costs. Ours
moves the objects, with TLS, and takes their sha256. Rounds alternate; medians and all times are told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.servers import grid_pki
from tests.servers.common import public_directory
from tests.servers.osdf import Federation, federation

SIZE = 4096  # bytes
STUB = '#!/bin/sh\n[ "$1" = --version ] && echo "Version: 7.10.0"\nexit 0\n'


def specification(work: Path, host: str, way: str, files: int) -> Path:
    """Downloads (``get``) or uploads."""
    entries = []
    for n in range(files):
        there = f"pelican://{host}/data/d/{way}{n}"
        here = f"file://{work}/{way}/f{n}"
        source, target = (there, here) if way == "get" else (here, there)
        places = [{"site_label": "local", "url": url} for url in (source, target)]
        entry = {"type": "transfer", "id": n + 1, "lfn": f"f{n}"}
        entries.append({**entry, "src_urls": places[:1], "dest_urls": places[1:]})
    path = work / f"{way}.json"
    path.write_text(json.dumps(entries))
    return path


def prepare(work: Path, served: Federation, files: int) -> dict[str, str]:
    """Files at both ends, and the environment of the commands."""
    there = served.origin.data / "d"
    there.mkdir()
    there.chmod(0o777)
    (work / "put").mkdir()
    (work / "bin").mkdir()
    for n in range(files):
        (there / f"get{n}").write_bytes(b"x" * SIZE)
        (work / "put" / f"f{n}").write_bytes(b"x" * SIZE)
    stub, token = work / "bin" / "pelican", work / "token"
    stub.write_text(STUB)
    stub.chmod(0o755)
    token.write_text("token")
    token.chmod(0o600)
    trusted = str(served.grid.certificates)
    path = f"{stub.parent}:{os.environ['PATH']}"
    trust = {"X509_CERT_DIR": trusted, "SSL_CERT_DIR": trusted, "BEARER_TOKEN_FILE": str(token)}
    return {"PATH": path, "HOME": str(work), **trust}


def seconds(program: str, specification: Path, env: dict[str, str]) -> float:
    """Of one run, which must end well."""
    shutil.rmtree(specification.parent / "get", ignore_errors=True)
    began = time.monotonic()
    argv = [program, "-f", str(specification)]
    subprocess.run(argv, env=env, cwd=specification.parent, check=True, capture_output=True)
    return time.monotonic() - began


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--ours", default=".venv/bin")
    parser.add_argument("--upstream", default="")
    told = parser.parse_args()
    programs = {"ours": told.ours, "a process for each file": told.upstream}
    commands = {name: str(Path(at, "pegasus-transfer").absolute()) for name, at in programs.items() if at}
    with public_directory("bench-") as pki, tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        with federation(grid_pki.make(pki)) as served:
            env = prepare(work, served, told.files)
            for way in ("get", "put"):
                listed = specification(work, served.host, way, told.files)
                times: dict[str, list[float]] = {name: [] for name in commands}
                for _ in range(told.rounds):
                    for name, program in commands.items():
                        times[name].append(seconds(program, listed, env))
                for name, found in times.items():
                    every = " ".join(f"{one:.2f}" for one in found)
                    print(f"{way}  {name:24} {statistics.median(found):7.2f} s   ({every})", flush=True)


if __name__ == "__main__":
    main()
