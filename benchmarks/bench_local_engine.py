"""What the local engine adds to a job: jobs that do nothing, beside a bare loop of their programs.

usage: python -m benchmarks.bench_local_engine [--jobs 500] [--rounds 3] [--at-a-time 1] [--ours DIR]

Each job is what a planned one is: our worker, which makes the job's directory, runs /bin/true, and records
it, then the POST script, which judges the record. The bare loop runs /bin/true as often. Rounds alternate;
medians and best runs are told, and the difference by jobs. Files lie in /dev/shm.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import measure

BAR = 0.050  # seconds that a job may take more than its program
PROGRAM = "/bin/true"
LOOP = f"""
import subprocess, sys
for _ in range(int(sys.argv[1])):
    subprocess.run(['{PROGRAM}'], check=True)
"""


def make(root: Path, jobs: int) -> None:
    """A workflow of so many jobs, independent of each other, on the submit host."""
    (root / "workflow.yml").write_text(
        json.dumps(
            {
                "pegasus": "5.0.4",
                "name": "nothing",
                "jobs": [
                    {"type": "job", "id": f"ID{n:06d}", "name": "true", "arguments": [], "uses": []}
                    for n in range(jobs)
                ],
                "jobDependencies": [],
            }
        )
    )
    site = {"name": "local", "pfn": PROGRAM, "type": "installed"}
    (root / "transformations.yml").write_text(
        json.dumps({"pegasus": "5.0", "transformations": [{"name": "true", "sites": [site]}]})
    )
    server = {"url": f"file://{root}/scratch", "operation": "all"}
    scratch = {"type": "sharedScratch", "path": f"{root}/scratch", "fileServers": [server]}
    storage = {**scratch, "type": "localStorage"}
    (root / "sites.yml").write_text(
        json.dumps({"pegasus": "5.0", "sites": [{"name": "local", "directories": [scratch, storage]}]})
    )


def plan(root: Path, ours: str, number: int) -> Path:
    """A fresh submit directory."""
    argv = [f"{ours}/pegasus-plan", "--dir", f"{root}/submit", "--relative-dir", f"run{number}", "-q"]
    found = subprocess.run(argv, cwd=root, check=False, capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(found.stderr)
    return Path(found.stdout.strip())


def main() -> int:
    """0 when the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-a-time", type=int, default=1)
    parser.add_argument("--ours", default=str(Path(sys.executable).parent))
    options = parser.parse_args()
    engine: list[measure.Usage] = []
    loop: list[measure.Usage] = []
    with tempfile.TemporaryDirectory(prefix="bench-engine-", dir="/dev/shm") as directory:
        root = Path(directory)
        make(root, options.jobs)
        for number in range(options.rounds):
            loop.append(measure.run([[sys.executable, "-c", LOOP, str(options.jobs)]]))
            argv = [f"{options.ours}/pegasus-run", "-q", "--jobs", str(options.at_a_time)]
            engine.append(measure.run([[*argv, str(plan(root, options.ours, number))]]))
            for usage in (loop[-1], engine[-1]):
                if usage.code:
                    raise RuntimeError(usage.output)
    return told(options, engine, loop)


def told(options: argparse.Namespace, engine: list[measure.Usage], loop: list[measure.Usage]) -> int:
    """Prints the figures; 0 when the bar is met."""
    print(f"{options.jobs} jobs, {options.at_a_time} at a time, {options.rounds} rounds; {measure.machine()}")
    for name, usages in (("engine", engine), ("loop", loop)):
        seconds = [usage.seconds for usage in usages]
        cpu = statistics.median(usage.cpu for usage in usages)
        print(
            f"  {name:7}{statistics.median(seconds):7.2f} s (best {min(seconds):.2f}, cpu {cpu:.2f}), "
            f"{statistics.median(seconds) / options.jobs * 1000:.1f} ms a job, "
            f"{max(usage.peak for usage in usages):.0f} MiB"
        )
    more = statistics.median(a.seconds - b.seconds for a, b in zip(engine, loop, strict=True)) / options.jobs
    print(
        f"  overhead a job: {more * 1000:.1f} ms;",
        f"bar {BAR * 1000:.0f} ms {'met' if more < BAR else 'NOT met'}",
    )
    return 0 if more < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
