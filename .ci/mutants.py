"""Mutation testing: small mistakes are made in the code, one at a time; each must make a test fail.

usage: mutants.py [--count N] [--seed N] [--only TEXT]   tries a sample of all mutants, drawn by the seed;
                                                         those only whose line (as printed) holds the text

First the tests run once, to learn which of them pass through which line. Then each mutant is tried by the
tests that pass through it, in a process of its own, forked from one that has loaded the libraries. Exits 1
when fewer than 90 % are killed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import coverage
import pytest
from mutations import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
NO_TEST = 5  # pytest's code where none was found
SLOWEST = 300.0  # seconds that one mutant's tests may take; who takes longer hangs, and is killed
# Loaded once: all that tests import, save what is ours.
LIBRARIES = (
    "hypothesis",
    "boto3",
    "cryptography",
    "paramiko",
    "pycurl",
    "msgspec",
    "yaml",
    "greenlet",
    "xdist",
)


class Part(NamedTuple):
    """Files that are mutated, and the tests that must notice, those first that are quick.

    ``unmeasured`` pass through all lines that matter, and would take an hour to measure.
    """

    files: str
    tests: str
    unmeasured: str = ""


_ENGINE = "engine_lanes engine engine_defects engine_trees engine_progress engine_hosts verified preflight"
_STREAMS = "ends local_files local_source faults_disk leftovers engine verified sftp"
_INTEGRITY = (
    "integrity_digests integrity_meta integrity_manifest integrity_kickstart local_trees "
    "integrity_manifest_command integrity_command cli_verify metadata"
)
_SHARED = "shared_upload shared_trees new_backend sftp sftp_faults ftp ftp_faults webdav_faults s3 s3_faults"
PARTS = (
    Part("transfer/engine", _ENGINE, "simulation"),
    Part("transfer/streams", _STREAMS),
    Part("integrity", _INTEGRITY),
    Part("transfer/backends/shared", _SHARED),
)


class Selected:
    """A plugin: those tests run that are named; or all, and what each passes through is measured."""

    def __init__(self, names: set[str] | None = None, measure: coverage.Coverage | None = None) -> None:
        self.names, self.measure = names, measure
        self.failed: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        names = self.names
        if names is not None:
            items[:] = [i for i in items if i.nodeid in names or i.nodeid.partition("::")[0] in names]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.measure is not None:
            self.measure.switch_context(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def tried(files: list[str], plugin: Selected, source: Path, output: Path) -> int:
    """Runs the tests upon that source, in a child; pytest's code."""
    os.setsid()
    log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(PYTHONPATH=f"{source}{os.pathsep}{ROOT}", PYTHONDONTWRITEBYTECODE="1")
    sys.path[:0] = [str(source), str(ROOT)]
    sys.dont_write_bytecode = True
    more = ["--maxfail=1"] if plugin.measure is None else []
    loaded = "-Wignore:Module already imported:pytest.PytestAssertRewriteWarning"
    return int(pytest.main([*files, "-q", "--tb=short", "-pno:cacheprovider", loaded, *more], [plugin]))


def in_child(limit: float, what: Callable[[], int]) -> int | None:
    """The code that it ended with; None when it took too long. Nothing of it is left running."""
    child = os.fork()
    if not child:
        try:
            os._exit(what())
        finally:
            traceback.print_exc()
            os._exit(1)
    until, status = time.monotonic() + limit, None
    while status is None and time.monotonic() < until:
        time.sleep(0.02)
        pid, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if pid else None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        os.waitpid(child, 0)
    return status


def measured(part: Part, source: Path, work: Path) -> dict[str, dict[int, list[str]]]:
    """Which tests of a part pass through which lines of its files."""
    found: dict[str, dict[int, list[str]]] = {}
    for name in part.tests.split():
        data = work / f"{part.files.replace('/', '-')}-{name}.coverage"

        def run(name: str = name, data: Path = data) -> int:
            measure = coverage.Coverage(
                str(data), include=[f"{source}/pegasus_toolkit/{part.files}/*"], config_file=False,
            )  # fmt: skip
            measure.start()
            plugin = Selected(measure=measure)
            tried([f"tests/test_{name}.py"], plugin, source, work / "log")
            measure.stop()
            measure.save()
            data.with_suffix(".failed").write_text("\n".join(sorted(plugin.failed)))
            return 0

        if in_child(10 * SLOWEST, run) is None:
            raise SystemExit(f"test_{name}.py takes too long")
        failed = set(data.with_suffix(".failed").read_text().splitlines())
        print("".join(f"fails with nothing wrong, and is left out: {test}\n" for test in failed), end="")
        stored = coverage.CoverageData(str(data))
        stored.read()
        for file in stored.measured_files():
            lines = found.setdefault(Path(file).relative_to(source).as_posix(), {})
            for line, tests in stored.contexts_by_lineno(file).items():
                lines[line] = lines.get(line, []) + [test for test in tests if test not in failed]
    return found


def end_of(mutant: Mutant, part: Part, tests: set[str], source: Path, work: Path) -> str:
    """What becomes of it: "killed", by which test; "hangs"; or "SURVIVES"."""
    quick = [f"tests/test_{name}.py" for name in part.tests.split()]
    always = [f"tests/test_{name}.py" for name in part.unmeasured.split()]
    if tests <= {""}:  # when the module is read, or in a process of its own: each test may notice
        tests = set(quick)
    files = [file for file in quick if any(test.startswith(file) for test in tests)]
    file, log = source / mutant.file, work / "log"
    text = file.read_bytes()
    file.write_bytes(mutant.applied(text))
    try:
        code = in_child(SLOWEST, lambda: tried(files + always, Selected(tests | set(always)), source, log))
    finally:
        file.write_bytes(text)
    told = log.read_text(errors="replace").splitlines()
    by = next((line.split()[1] for line in told if line.startswith(("FAILED ", "ERROR "))), "")
    return "hangs" if code is None else "SURVIVES" if code in (0, NO_TEST) else f"killed by {by}"


def main(arguments: list[str]) -> int:
    """Tells what becomes of each, and what share was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    chosen = parser.parse_args(arguments)
    os.chdir(ROOT)
    every = [(m, part) for part in PARTS for m in all_of(part) if chosen.only in str(m)]
    some = random.Random(chosen.seed).sample(every, min(chosen.count, len(every)))
    some.sort(key=lambda pair: PARTS.index(pair[1]))
    print(f"{len(some)} of {len(every)} mutants, seed {chosen.seed}", flush=True)
    for library in LIBRARIES:
        importlib.import_module(library)
    left = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        work = Path(directory)
        source = work / "src"
        shutil.copytree(ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__"))
        passing: dict[str, dict[int, list[str]]] = {}
        for part in dict.fromkeys(part for _, part in some):
            passing |= measured(part, source, work)
        for mutant, part in some:
            lines = passing.get(mutant.file, {})
            tests = {test for line in mutant.lines for test in lines.get(line, [])}
            end = end_of(mutant, part, tests, source, work)
            left += end == "SURVIVES"
            print(f"{mutant}: {end}", flush=True)
    print(f"{len(some) - left} of {len(some)} killed")
    return 0 if left <= len(some) // 10 else 1


def all_of(part: Part) -> list[Mutant]:
    """All mutants of a part."""
    files = sorted((ROOT / "src" / "pegasus_toolkit" / part.files).glob("*.py"))
    return [
        m for file in files for m in mutants_of(file.relative_to(ROOT / "src").as_posix(), file.read_bytes())
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
