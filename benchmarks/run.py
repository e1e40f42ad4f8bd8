"""Our command beside others, in one run: python -m benchmarks.run --help"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import measure, report, sets, steady
from benchmarks.rounds import Field, Plan, field, measured
from benchmarks.tools import BEFORE, CASES, OURS, Programs, Tool, ours

HERE = Path(__file__).parent


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """What to measure, with which programs, and where the figures go."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--cases", default=",".join([*CASES, "missing", "exit"]), help="default: %(default)s")
    parser.add_argument("--sets", default="A,B,C", help="A: 1 x 2 GiB, B: 10,000 x 4 KiB, C: 200 x 5 MiB")
    parser.add_argument("--rounds", type=int, default=0, help="default: 3, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="smaller sets; shows that all works, no more")
    parser.add_argument("--without", default="", help="tools to leave out, by the start of their names")
    parser.add_argument("--ours", type=Path, default=Path(".venv/bin"), help="directory of our command")
    parser.add_argument("--tools", type=Path, default=Path(sys.executable).parent, help="of rclone and s5cmd")
    parser.add_argument("--upstream", type=Path, default=Path(".venv-upstream/bin"))
    parser.add_argument(
        "--before", type=Path, help="our command as it was: compared with it, and no other tool"
    )
    parser.add_argument("--root", type=Path, default=Path("/dev/shm"), help="files and servers' data go here")
    parser.add_argument("--out", type=Path, help="where all figures go, as JSON")
    parser.add_argument("--publish", action="store_true", help="write the results into benchmarks/")
    return parser.parse_args(argv)


def plan(options: argparse.Namespace) -> Plan:
    """Raises ``SystemExit`` for a case or set that does not exist."""
    cases, names = options.cases.split(","), options.sets.split(",")
    if unknown := {*cases, *names} - {*CASES, "missing", "exit", *sets.SHAPES}:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}")
    out = tuple(options.without.split(",")) if options.without else ()
    tools = {case: [t for t in CASES[case] if not t.name.startswith(out)] for case in CASES}
    if options.before:
        tools = {case: [Tool(OURS, ours(case)), Tool(BEFORE, ours(case, before=True))] for case in CASES}
    rounds = options.rounds or (2 if options.quick else 3)
    shapes = sets.QUICK if options.quick else sets.SHAPES
    exits = 10 if options.quick else 100
    return Plan(cases, tools, names, shapes, rounds, exits)


def versions(programs: Programs) -> dict[str, str]:
    """Of all programs that take part."""
    return {
        "pegasus-transfer (ours)": measure.version([f"{programs.ours}/pegasus-transfer", "--version"]),
        "pegasus-transfer (upstream)": "5.1.3",
        "cp": measure.version(["cp", "--version"]),
        "openssl": measure.version(["openssl", "version"]),
        "curl": measure.version(["curl", "--version"]),
        "rclone": measure.version([f"{programs.tools}/rclone", "version"]),
        "s5cmd": measure.version([f"{programs.tools}/s5cmd", "version"]),
        "SeaweedFS": measure.version([f"{programs.tools}/weed", "version"]),
        "nginx": measure.version(["nginx", "-v"]),
    }


def collect(ground: Field, wanted: Plan, results: dict[str, Any]) -> None:
    """Measures all that is wanted; what is there stays in ``results`` when something goes wrong."""
    speed = wanted._replace(cases=[case for case in wanted.cases if case in CASES])
    for record in measured(ground, speed):
        results["records"].append(record)
        line = "{case:8} {set} {tool:26} {seconds:8.2f} s {cpu:7.2f} cpu {peak:6.0f} MiB"
        print(line.format(**record), record.get("error", ""), flush=True)
    if "missing" in wanted.cases:
        results["missing"] = steady.missing(ground, max(3, wanted.rounds))
    if "exit" in wanted.cases:
        results["exits"] = steady.exits(ground, wanted.exits)


def ratios(records: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each case and set: medians of the ratios to the command as it was before."""
    for case, name in dict.fromkeys((record["case"], record["set"]) for record in records):
        both = [
            [
                r
                for r in records
                if (r["case"], r["set"], r["tool"]) == (case, name, tool) and "error" not in r
            ]
            for tool in (OURS, BEFORE)
        ]
        pairs = list(zip(*both, strict=False))
        times, cpu = (median(now[key] / then[key] for now, then in pairs) for key in ("seconds", "cpu"))
        yield f"{case:8} {name}: {times:.3f} times the seconds, {cpu:.3f} times the processor time"


def main(argv: list[str] | None = None) -> int:
    """0 when all bars are reached; of a quick run, which shows no speeds, those of conduct."""
    options = arguments(argv)
    wanted = plan(options)
    places = (options.ours, options.tools, options.upstream, options.before or Path())
    programs = Programs(*(path.absolute() for path in places))
    os.environ["PATH"] += ":/usr/sbin"
    results: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "quick": options.quick,
        "machine": measure.machine(),
        "versions": versions(programs),
        "records": [],
    }
    with field(options.root / f"pegasus-bench-{os.getpid()}", programs) as ground:
        collect(ground, wanted, results)
    if options.before:
        print("\n".join(ratios(results["records"])))
        return 0
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if options.publish:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        page = HERE / "README.md"
        page.write_text(report.publish(page.read_text(), results))
        drawing = [sys.executable, "-m", "benchmarks.plot", f"{HERE}/results.json", f"{HERE}/results.svg"]
        subprocess.run(drawing, check=True)
    print(report.markdown(results))
    bars = report.conduct(results) if options.quick else report.bars(results)
    return 0 if all(bar.reached for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
