"""``pegasus-graph``: a picture of a workflow or a run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pegasus_toolkit.cli import watching

if TYPE_CHECKING:
    from pegasus_toolkit.monitor.graph import Graph, Label

DESCRIPTION = (
    "Draws an abstract workflow (workflow.yml), or a run (submit directory, .dag) coloured by status."
)

EPILOG = """\
The file's name tells the format: .dot, .svg, .png, .pdf, .json. PNG and PDF are drawn by Graphviz' program
dot, SVG in a simpler way by this command where that is not installed.
More than --most boxes are drawn as one for all of a level that are of one kind and state.

exit codes: 0 drawn; 2 there is nothing to draw, or it cannot be written."""

_NAME = "pegasus-graph"
_MOST = 300
_FORMATS = ("dot", "svg", "png", "pdf", "json")
_ENDINGS = {f".{name}": name for name in _FORMATS} | {".gv": "dot", "": "dot"}
_LABELS = ("label", "xform", "id", "xform-id", "label-xform", "label-id")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = watching.parsed(_parser(), None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _draw(options))


def _parser() -> argparse.ArgumentParser:
    made = watching.parser(_NAME, DESCRIPTION, EPILOG)
    add = made.add_argument
    add("-o", "--output", metavar="FILE", help="default: standard output; the name's end tells the format")
    add("--format", choices=_FORMATS, help="default: as FILE ends, else dot")
    add("--json", action="store_const", const="json", dest="format", help="boxes and arrows as JSON")
    add("-s", "--nosimplify", action="store_true", help="also arrows that others imply")
    add("-l", "--label", choices=_LABELS, default="label", metavar="KIND",
        help=f"of jobs in a workflow: {', '.join(_LABELS)} (default: label)")  # fmt: skip
    add("-r", "--remove", action="append", default=[], metavar="XFORM", help="leave out a transformation")
    add("-f", "--files", action="store_true", help="of a workflow, the files, too")
    add("-W", "--width", type=float, metavar="INCHES", help="with -H: of dot's picture")
    add("-H", "--height", type=float, metavar="INCHES", help="with -W: of dot's picture")
    add("--levels", type=int, metavar="N", help="only what is at most N levels deep")
    add("--most", type=int, default=_MOST, metavar="N", help="boxes drawn one by one (default: %(default)s)")
    add("--all", action="store_true", help="one box each, however many")
    return made


def _draw(options: argparse.Namespace) -> int:
    from pegasus_toolkit.monitor import graph as graphs

    found = _graph(options)
    if options.remove:
        found = graphs.without(found, options.remove)
    if options.levels is not None:
        found = graphs.first_levels(found, options.levels)
    if len(found.boxes) > options.most and not options.all:
        many = len(found.boxes)
        found = graphs.collapsed(found)
        print(f"{_NAME}: {many:,} boxes are drawn as {len(found.boxes):,}; --all draws all", file=sys.stderr)
    if not options.nosimplify:
        found = graphs.simplified(found)
    ending = Path(options.output or "").suffix.lower()
    form = options.format or _ENDINGS.get(ending)
    if form is None:
        text = f"no picture of the form {ending!r} can be drawn; there are {', '.join(_FORMATS)}"
        print(f"{_NAME}: {options.output}: {text}", file=sys.stderr)
        return watching.NO_RUN
    content = _rendered(form, options, found)
    if content is None:
        return watching.NO_RUN
    _write(options, content)
    return 0


def _graph(options: argparse.Namespace) -> Graph:
    from pegasus_toolkit.monitor import graph as graphs

    path = options.submitdir
    if path.endswith((".yml", ".yaml", ".json")):
        return _workflow(path, cast("Label", options.label), options.files)
    from pegasus_toolkit.monitor.database import opened
    from pegasus_toolkit.monitor.locate import find

    run = find(path)
    with opened(run, note=watching.noting(_NAME, options.verbose)) as connection:
        return graphs.of_run(connection, run.name)


def _workflow(path: str, label: Label, files: bool) -> Graph:
    from pegasus_toolkit.monitor import graph as graphs
    from pegasus_toolkit.monitor.locate import NotARun
    from pegasus_toolkit.planner.reading import document, workflow
    from pegasus_toolkit.planner.reading.reader import Reader

    try:
        tree = document.parse(path, Path(path).read_text("utf-8")).tree
    except UnicodeDecodeError:
        raise NotARun(f"{path}: expected UTF-8") from None
    except document.Broken as error:
        raise NotARun(f"{path}:{error.line}: {error.message}") from None
    reader = Reader(path, os.environ, str(Path(path).parent))
    found = workflow.read(reader, tree)
    if reader.problems:
        raise NotARun("\n".join(map(str, reader.problems[:10])))
    return graphs.of_workflow(found, label, files)


def _rendered(form: str, options: argparse.Namespace, found: Graph) -> bytes | None:
    """The picture; ``None``, and a line that says why, where it cannot be drawn."""
    from pegasus_toolkit.monitor import dot

    if form == "json":
        return _json(found)
    text = dot.render(found, options.width, options.height)
    if form == "dot":
        return text.encode()
    content, problem = _drawn(form, text)
    if content is not None:
        return content
    if form == "svg":
        from pegasus_toolkit.monitor import svg

        if problem:
            print(f"{_NAME}: {problem}; drawn without it", file=sys.stderr)
        return svg.render(found).encode()
    reason = problem or "that takes Graphviz, whose program dot is not on PATH (package graphviz)"
    print(f"{_NAME}: no {form.upper()} can be drawn: {reason}; SVG can be had without it", file=sys.stderr)
    return None


def _drawn(form: str, text: str) -> tuple[bytes | None, str]:
    """What Graphviz makes of it, or what is wrong with it; "" where it is not there."""
    import shutil
    import subprocess

    program = shutil.which("dot")
    if program is None:
        return None, ""
    done = subprocess.run([program, f"-T{form}"], input=text.encode(), capture_output=True, check=False)
    if done.returncode == 0 and done.stdout:
        return done.stdout, ""
    said = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
    return None, f"dot failed ({said or f'exit code {done.returncode}'})"


def _json(found: Graph) -> bytes:
    import json

    known = {
        "name": found.name,
        "boxes": [box._asdict() for box in found.boxes],
        "edges": [list(edge) for edge in found.edges],
    }
    return json.dumps(known, indent=1).encode() + b"\n"


def _write(options: argparse.Namespace, content: bytes) -> None:
    if options.output:
        Path(options.output).write_bytes(content)
    else:
        sys.stdout.buffer.write(content)


if __name__ == "__main__":
    sys.exit(main())
