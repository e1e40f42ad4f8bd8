"""Every block of the tutorial that a reader is told to run is run, in its order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(page: Path) -> str:
    """The shell blocks of a page as one script, which ends at the first command that fails."""
    found = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return "set -euo pipefail\n" + "\n".join(found)


def test_the_tutorial_runs_as_it_stands(tmp_path: Path) -> None:
    environ = {
        "HOME": str(tmp_path),
        "USER": "reader",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EXAMPLES": str(ROOT / "examples"),
    }
    script = blocks(ROOT / "docs/tutorial.md")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (tmp_path / "tutorial/diamond/results").is_dir()
