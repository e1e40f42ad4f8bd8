"""Makes upstream's commands in the virtual environment whose Python runs this.

Its package on the registry holds the programs as modules without entry points; they find each
other by name beside themselves.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

COMMANDS = ("pegasus-transfer", "pegasus-s3")


def main() -> None:
    """Writes one small starter for each command into bin/."""
    found = importlib.util.find_spec("Pegasus.cli")
    assert found is not None and found.origin is not None
    modules = Path(found.origin).parent
    for command in COMMANDS:
        starter = Path(sys.executable).with_name(command)
        starter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{modules / command}.py" "$@"\n')
        starter.chmod(0o755)


if __name__ == "__main__":
    main()
