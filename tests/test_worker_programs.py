"""What a program says, and what a script sets up for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.test_worker_compute import sh
from tests.worker_world import one_node

FAILED = {"failure": "ERROR"}
SUCCEEDED = {"success": "all done"}


@pytest.mark.parametrize(
    ("script", "task", "error"),
    [
        ("echo disk ERROR", FAILED, "exit code 0, but said 'ERROR'"),
        ("echo disk ERROR >&2", FAILED, "exit code 0, but said 'ERROR'"),
        ("echo well", FAILED, ""),
        ("echo all done", SUCCEEDED, ""),
        ("echo all; echo done", SUCCEEDED, "exit code 0, but did not say 'all done'"),
        ("echo all done >&2; echo ERROR", {**FAILED, **SUCCEEDED}, "said 'ERROR'"),
        ("exit 7", SUCCEEDED, "exit code 7"),
    ],
)
@pytest.mark.parametrize("to", ["", "o"])
def test_what_a_program_says_decides(
    script: str, task: dict[str, Any], error: str, to: str, tmp_path: Path
) -> None:
    """Also where its output goes into files."""
    streams = {"stdout": to, "stderr": to}
    done = one_node(tmp_path, tasks=[sh(script, **task, **streams)], outputs=["o"] if to else [])
    assert (done.code, done.record.get("error", "").endswith(error)) == (1 if error else 0, True)


def test_a_text_is_found_wherever_it_stands(tmp_path: Path) -> None:
    """Long before the part that is kept, and in two pieces."""
    script = "printf ER; sleep 0.05; echo ROR; i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done"
    done = one_node(tmp_path, tasks=[sh(script, failure="ERROR")])
    assert done.code == 1 and "said 'ERROR'" in done.record["error"]
    assert "ERROR" not in done.record["tasks"][0]["stdout"]


def test_a_script_is_read_before_the_program_starts(tmp_path: Path) -> None:
    task = sh('printf "$GREETING $1"', "a b", setup="setup.sh", environment={"NAME": "joe"}, stdout="o")
    inputs = {"setup.sh": b'greet() { echo "hello $NAME"; }\nexport GREETING="$(greet)"\n'}
    done = one_node(tmp_path, tasks=[task], inputs=inputs, outputs=["o"])
    assert done.code == 0 and done.file("o") == b"hello joe a b"


def test_a_script_that_fails(tmp_path: Path) -> None:
    done = one_node(tmp_path, tasks=[sh("touch o", setup="setup.sh")], inputs={"setup.sh": b"false\n"})
    assert done.code == 1 and "setup.sh failed: exit code 1" in done.record["tasks"][0]["stderr"]
