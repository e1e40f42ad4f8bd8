"""Draws results.json as results.svg: usage: python -m benchmarks.plot results.json results.svg"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

from benchmarks.report import Cells, cells
from benchmarks.tools import CASES, OURS

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "pegasus-toolkit", "svg.fonttype": "none"}
COLOURS = {OURS: "#1b6ca8", "rclone": "#b0b0b0", "s5cmd": "#8a8a8a", "curl": "#8a8a8a", "cp": "#d8d8d8"}


def draw(found: Cells, target: Path) -> None:
    """One row a case, one field a set; bars of seconds, shorter is better."""
    from matplotlib import pyplot

    cases = [case for case in CASES if any(key[0] == case for key in found)]
    names = sorted({key[1] for key in found})
    size = (4.2 * len(names), 1.6 * len(cases))
    figure, fields = pyplot.subplots(
        len(cases), len(names), figsize=size, squeeze=False, layout="constrained"
    )
    for row, case in zip(fields, cases, strict=True):
        for field, name in zip(row, names, strict=True):
            tools = [t.name for t in reversed(CASES[case]) if (case, name, t.name) in found]
            # by files of the whole set, so that a tool that moved fewer stands beside the others
            whole = found[case, name, OURS].bytes if (case, name, OURS) in found else 0
            chosen = [t for t in tools if found[case, name, t].bytes == whole or not whole]
            seconds = [found[case, name, t].seconds for t in chosen]
            field.barh(chosen, seconds, color=[COLOURS.get(t, "#c4a35a") for t in chosen])
            field.bar_label(field.containers[0], fmt="%.2f s", padding=2, fontsize=7)
            field.set_title(f"{case}, {name}", fontsize=9)
            field.tick_params(labelsize=7)
            field.margins(x=0.2)
            field.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("seconds, shorter is better", fontsize=9)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(cells(json.loads(Path(sys.argv[1]).read_text())["records"]), Path(sys.argv[2]))
