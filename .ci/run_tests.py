"""Runs all tests. In CI, at most three that failed are run once more, and named aloud if they then pass.

The servers are real and a shared machine can be starved for seconds; more than that is a fault of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

FEW = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")


def main(arguments: list[str]) -> int:
    """pytest's exit code, of the second run if there was one."""
    command = [sys.executable, "-m", "pytest", *arguments]
    FAILED.unlink(missing_ok=True)
    code = subprocess.run(command, check=False).returncode
    failed = list(json.loads(FAILED.read_text())) if FAILED.exists() else []
    if code != 1 or os.environ.get("CI") != "true" or not 0 < len(failed) <= FEW:
        return code
    print(f"FAILED ONCE, AND RUN AGAIN: {', '.join(failed)}", flush=True)
    command += ["--last-failed", "--last-failed-no-failures=none"]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
