"""Only ``cli`` and the Python API, which people call, read the environment: all else is given it."""

from __future__ import annotations

import ast
from pathlib import Path

import pegasus_toolkit

ROOT = Path(pegasus_toolkit.__file__).parent
# The zygote puts the environment of a job in place; the packed worker's start and gfal2's helper are programs
# of their own.
# XRootD's library reads what it trusts from nowhere else.
ALLOWED = {
    "engines/zygote.py",
    "worker/pack/start.py",
    "transfer/clients/gfal/helper.py",
    "transfer/clients/xrootd/library.py",
}
CALLED_BY_PEOPLE = {"files/api.py", "files/filesystem.py"}


def touches(path: Path) -> bool:
    names = ("environ", "environb", "getenv", "putenv")
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in names
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def test_the_environment_is_the_commands_affair() -> None:
    found = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if touches(path)}
    assert {name for name in found if not name.startswith("cli/")} == ALLOWED | CALLED_BY_PEOPLE
