"""Planning a fan-out: processor seconds and memory of pegasus-plan, and what it writes.

usage: python -m benchmarks.bench_plan [--jobs 10000,50000] [--ours DIR]

Each job has one input and one output; nonsharedfs, cleanup in place. The worker that travels with the jobs is
packed before (``--worker``), as it is once for all plans. Files lie in a temporary directory.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Usage, run

SITES = """\
pegasus: "5.0"
sites:
- {{name: local, directories: [{local}, {storage}]}}
- {{name: pool, directories: [{pool}], profiles: {{condor: {{universe: vanilla}}}}}}
"""
JOB = """\
- {{type: job, id: j{n}, name: keg, arguments: [-o, out{n}], uses: [{{lfn: in{n}, type: input}}, \
{{lfn: out{n}, type: output, stageOut: true, registerReplica: true}}]}}
"""


def write(root: Path, jobs: int) -> None:
    """Workflow, catalogs and properties."""
    (root / "workflow.yml").write_text('pegasus: "5.0"\nname: fan\njobs:\n' + "".join(_jobs(jobs)))
    replicas = (f"- {{lfn: in{n}, pfns: [{{site: web, pfn: 'http://host/in{n}'}}]}}\n" for n in range(jobs))
    (root / "replicas.yml").write_text('pegasus: "5.0"\nreplicas:\n' + "".join(replicas))
    program = "- {name: keg, sites: [{name: pool, pfn: /usr/bin/keg, type: installed}]}\n"
    (root / "transformations.yml").write_text('pegasus: "5.0"\ntransformations:\n' + program)
    servers = {
        "local": f"file://{root}/local",
        "storage": f"file://{root}/storage",
        "pool": "ftp://host/pool",
    }
    kinds = {"local": "sharedScratch", "storage": "localStorage", "pool": "sharedScratch"}
    places = {
        name: f"{{type: {kinds[name]}, path: {root}/{name}, fileServers: [{{url: '{url}', operation: all}}]}}"
        for name, url in servers.items()
    }
    (root / "sites.yml").write_text(SITES.format(**places))
    known = "".join(
        f"pegasus.catalog.{one}.file = {root}/{one}s.yml\n" for one in ("site", "replica", "transformation")
    )
    (root / "pegasus.properties").write_text(f"pegasus.data.configuration = nonsharedfs\n{known}")


def _jobs(count: int) -> Iterator[str]:
    return (JOB.format(n=n) for n in range(count))


def plan(root: Path, ours: Path) -> Usage:
    """Plans what is in ``root``."""
    argv = [str(ours / "pegasus-plan"), "-q", "-s", "pool", "--relative-dir", "submit"]
    used = run(
        [[*argv, "--dir", str(root), "--conf", str(root / "pegasus.properties"), str(root / "workflow.yml")]]
    )
    if used.code != 0:
        raise SystemExit(used.output)
    return used


def main() -> None:
    """One line for each number of jobs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", default="10000,50000")
    parser.add_argument("--ours", type=Path, default=Path(sys.executable).parent)
    arguments = parser.parse_args()
    for jobs in (10, *map(int, arguments.jobs.split(","))):  # the first packs the worker
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            write(root, jobs)
            used = plan(root, arguments.ours)
            nodes = json.loads((root / "submit" / "plan.json").read_text())["nodes"]
            files = sum(len(names) for _, _, names in os.walk(root / "submit"))
            made = f"{sum(nodes.values())} nodes, {files} files"
            print(f"{jobs:>6} jobs: {used.cpu:5.2f} CPU s, {used.peak:4.0f} MiB, {made}")


if __name__ == "__main__":
    main()
