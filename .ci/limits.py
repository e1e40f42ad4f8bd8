"""A backstop: files and functions are cut by idea, most below 400 and 40 lines; what is far beyond is named.

usage: limits.py DIRECTORY...   prints what is too long; exits 1 when something is.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 600
FUNCTION_LINES = 70


def too_long(path: Path) -> Iterator[str]:
    """One line for the file, and for each function in it, that passes its limit."""
    text = path.read_text(encoding="utf-8")
    if (lines := text.count("\n")) > FILE_LINES:
        yield f"{path}: {lines} lines, {FILE_LINES} allowed"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{path}:{node.lineno}: {node.name} has {lines} lines, {FUNCTION_LINES} allowed"


def main(directories: list[str]) -> int:
    """0 when all keep the limits."""
    files = [path for name in directories for path in sorted(Path(name).rglob("*.py"))]
    if not files:
        print("no Python file found", file=sys.stderr)
        return 1
    found = [line for path in files for line in too_long(path)]
    print("\n".join(found) or f"{len(files)} files keep their limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
