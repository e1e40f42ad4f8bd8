"""Which colour tells what, in pictures of a run."""

from __future__ import annotations

from pegasus_toolkit.monitor.graph import Box

STATES = {
    "waiting": "#f2f2f2",
    "pre": "#d6e6fa",
    "idle": "#fdf3c4",
    "running": "#9ecbff",
    "post": "#c9dcf5",
    "held": "#ffc27a",
    "done": "#b9e5b4",
    "failed": "#ff9d96",
}
_GROUPS = ("#cfe3f7", "#fbe0c3", "#d5ecd0", "#f6d0d0", "#e2d6f0", "#e8dccf", "#f9d9ea", "#eef0c0", "#cdeef0")
_FILE = "#ffffff"


def fill(box: Box, group: int) -> str:
    """Of a box: by its state if it has one, else by the number of its group."""
    if box.state:
        return STATES.get(box.state, STATES["waiting"])
    return _FILE if box.shape == "file" else _GROUPS[group % len(_GROUPS)]
