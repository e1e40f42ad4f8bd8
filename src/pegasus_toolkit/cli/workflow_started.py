"""What the commands say of a run that was started and goes on without them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

# As Pegasus says it: there are tools that look for these lines.
_STARTED = """\
Your workflow has been started and is running in the base directory:

  {directory}

*** To monitor the workflow you can run ***

  pegasus-status -l {directory}

*** To remove your workflow run ***

  pegasus-remove {directory}
"""


def announce(directory: str, out: str, quiet: bool, known: Mapping[str, object]) -> None:
    """Prints where the run is and how to watch it; ``out``: text, json (with ``known``) or nothing."""
    if out == "json":
        print(json.dumps({**_braindump(directory), "submit_dir": directory, **known}), flush=True)
    elif out == "text" and not quiet:
        print(_STARTED.format(directory=directory), flush=True)


def _braindump(directory: str) -> Mapping[str, object]:
    """What Pegasus' own command prints."""
    try:
        known = json.loads(Path(directory, "braindump.yml").read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
