"""The end of `make demo`: the workflow of examples/diamond, planned and run on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

DIAMOND = Path(__file__).with_name("diamond")
REPORT = """\
half 1: 500 values from 4.227 to 38.76
half 2: 500 values from 6.202 to 31.873
both:   6.202 to 31.873
"""


def plan_and_run(home: Path) -> None:
    """In ``home``/diamond. Raises ``SystemExit`` unless it ends with the right report."""
    root = home / "diamond"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(DIAMOND, root)
    _run(root, "pegasus-plan", "--relative-dir", "submit", "workflow.yml")
    _run(root, "pegasus-run", "--engine", "local", "submit")
    _run(root, "pegasus-status", "submit")
    made = (root / "wf-output" / "report.txt").read_text()
    if made != REPORT:
        raise SystemExit(f"the workflow made another report than it should:\n{made}")
    receipt = (root / "submit" / "records" / "receipt.json").read_text()
    digest = hashlib.sha256(made.encode()).hexdigest()
    if digest not in receipt:
        raise SystemExit("the receipt of the run does not tell the report's digest")
    print(f"   report.txt, sha256 {digest[:16]}..., as the run's receipt says:\n")
    print("".join(f"      {line}\n" for line in made.splitlines()), end="")


def _run(root: Path, program: str, *arguments: str) -> None:
    print(f"\n== {program} {' '.join(arguments)}", flush=True)
    beside = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{beside}:{os.environ['PATH']}"}
    done = subprocess.run([str(beside / program), *arguments], cwd=root, env=environ, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{program} ended with {done.returncode}; what happened: {json.dumps(str(root))}")
