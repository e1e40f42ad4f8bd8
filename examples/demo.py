"""`make demo`: transfers between this disk, a web server and an S3 server, all on loopback; then a workflow.

Three runs of pegasus-transfer, each on a specification that is left in build/demo to be read:
  1. stage-in   local files and files of a web site into a scratch directory
  2. two-stage  from the web site to S3 without a temporary file, and scratch files to S3
  3. stage-out  from S3 back to local disk
Every file has its expected sha256 in the specification; at the end `sha256sum -c` looks again.
The workflow is examples/diamond, planned by pegasus-plan and run on this machine.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import sets
from benchmarks.servers import ACCESS, S3, SECRET, seaweedfs
from examples.workflow import plan_and_run

HOME = Path("build/demo").absolute()
SHAPES = {"disk": sets.Shape(200, 64 << 10, 10), "site": sets.Shape(100, 256 << 10, 5)}
LARGE = sets.Shape(2, 64 << 20)
BUCKET = "s3://demo@seaweed/run-1"

Entry = dict[str, Any]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Keeps connections; its log would bury the progress."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def web_site(root: Path) -> Iterator[str]:
    """Python's own web server over a directory; its URL."""
    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def entry(file: sets.File, source: str, target: str, remote: bool = False) -> Entry:
    """One transfer of a specification: where from, where to, and what it must be."""
    labels = {"http": "web", "s3": "seaweed", "file": "local"}
    sites = [labels[url.partition(":")[0]] for url in (source, target)]
    return {
        "type": "transfer",
        "id": 0,
        "linkage": "input",
        "lfn": file.path,
        "src_urls": [{"site_label": sites[0], "url": f"{source}/{file.path}"}],
        "dest_urls": [{"site_label": sites[1], "url": f"{target}/{file.path}"}],
        "checksum": {"type": "sha256", "value": file.sha256},
        "size": file.size,
        "verify_checksum_remote": remote,
    }


def transfer(name: str, entries: list[Entry]) -> None:
    """Runs the command on a specification. Raises ``SystemExit`` unless all is done."""
    for number, one in enumerate(entries, 1):
        one["id"] = number
    spec = HOME / f"{name}.json"
    spec.write_text(json.dumps(entries, indent=1))
    report = HOME / f"{name}.report.jsonl"
    command = Path(sys.executable).with_name("pegasus-transfer")
    names = [str(path.relative_to(Path.cwd())) for path in (spec, report)]
    argv = [str(command), "-f", names[0], "--report", names[1]]
    print(f"\n== {name}: {command.name} {' '.join(argv[1:])}", flush=True)
    environ = {**os.environ, "PEGASUS_CREDENTIALS": str(HOME / "credentials.conf")}
    begin = time.monotonic()
    log = HOME / f"{name}.log"
    with log.open("w") as lines:  # a terminal shows the live line; elsewhere a line a file would be too much
        shown = None if sys.stderr.isatty() else lines
        done = subprocess.run(argv, env=environ, stderr=shown, check=False)
    if done.returncode != 0:
        print(log.read_text()[-4000:], file=sys.stderr)
        raise SystemExit(f"{name}: pegasus-transfer ended with {done.returncode}")
    tell(report, time.monotonic() - begin)


def tell(report: Path, seconds: float) -> None:
    """What the report says, in a line for each route."""
    routes: dict[str, list[Entry]] = {}
    for line in report.read_text().splitlines():
        record = json.loads(line)
        if record.get("type") == "transfer":
            routes.setdefault(record["route"], []).append(record)
    for route, records in routes.items():
        size = sum(record["bytes"] for record in records)
        digest = sum("digest" in record["verified"] for record in records)
        remote = sum("remote" in record["verified"] for record in records)
        asked = f", {remote} proven by the server" if remote else ""
        print(f"   {len(records)} files, {size / 1e6:.0f} MB, {route}: sha256 of {digest} verified{asked}")
    print(f"   {seconds:.1f} s in all")


def runs(url: str, files: dict[str, list[sets.File]]) -> None:
    """The three runs, one after the other."""
    scratch, results = f"file://{HOME}/scratch", f"file://{HOME}/results"
    local = [entry(file, f"file://{HOME}/disk", f"{scratch}/disk") for file in files["disk"]]
    fetched = [entry(file, f"{url}/site", f"{scratch}/site") for file in files["site"]]
    transfer("1-stage-in", local + fetched)
    relayed = [entry(file, f"{url}/large", f"{BUCKET}/large", remote=True) for file in files["large"]]
    relayed += [entry(file, f"{url}/site", f"{BUCKET}/site", remote=True) for file in files["site"]]
    uploaded = [entry(file, f"{scratch}/disk", f"{BUCKET}/disk") for file in files["disk"]]
    bucket: Entry = {"type": "mkdir", "id": 0, "target": {"site_label": "seaweed", "url": BUCKET}}
    transfer("2-two-stage", [bucket, *relayed, *uploaded])
    back = [entry(file, f"{BUCKET}/{kind}", f"{results}/{kind}") for kind in files for file in files[kind]]
    transfer("3-stage-out", back)


def prepare() -> dict[str, list[sets.File]]:
    """Fresh files to move, and their list as sha256sum writes it."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    shapes = {**SHAPES, "large": LARGE}
    files = {kind: sets.make(HOME / kind, shape, seed) for seed, (kind, shape) in enumerate(shapes.items())}
    lines = [f"{file.sha256}  results/{kind}/{file.path}\n" for kind in files for file in files[kind]]
    (HOME / "SHA256SUMS").write_text("".join(lines))
    return files


def credentials(s3: S3) -> None:
    """The keys of the demonstration's S3, as a user of Pegasus would write them down."""
    path = HOME / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text(
        f"[seaweed]\nendpoint = {s3.endpoint}\n\n"
        f"[demo@seaweed]\naccess_key = {ACCESS}\nsecret_key = {SECRET}\n"
    )


def main() -> None:
    """Runs it all; ends with an error unless every file came through unharmed."""
    print("making files and starting a web server and SeaweedFS (S3) on loopback ...", flush=True)
    files = prepare()
    with web_site(HOME) as url, seaweedfs(HOME / "seaweedfs") as s3:
        credentials(s3)
        runs(url, files)
    print("\n== sha256sum -c SHA256SUMS", flush=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=HOME, check=True)
    total = sum(map(len, files.values()))
    print(f"   all {total} files went disk or web -> scratch -> S3 -> results, and are what they were.")
    shutil.rmtree(HOME / "seaweedfs", ignore_errors=True)
    plan_and_run(HOME)
    print(f"\nspecifications, reports, results and the workflow: {HOME.relative_to(Path.cwd())}/")


if __name__ == "__main__":
    main()
