"""Pegasus' own Python API, with our commands on PATH. (Its `wait` calls condor_q.)"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.test_workflows import BIN, environ
from tests.workflows.shapes import found, make

SCRIPT = """
import sys
from pathlib import Path
from tests.workflows.shapes import make

workflow = make("diamond", Path.cwd(), "condorio").workflow
workflow.plan(submit=True, sites=["condorpool"], output_sites=["local"])
workflow.status(noqueue=True)
workflow.analyze()
workflow.statistics()
workflow.graph(output="diamond.dot")
workflow.run()
"""


def test_the_api_plans_runs_and_tells(tmp_path: Path) -> None:
    world = make("diamond", tmp_path, "condorio")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={
            **environ(tmp_path),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PATH": f"{BIN}:/usr/bin:/bin",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert dict(found(world.outputs)) == world.expected
    assert "Success" in done.stdout
    assert "digraph" in (tmp_path / "diamond.dot").read_text()
