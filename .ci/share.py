"""Man pages and completions of all commands, from the parsers that also print ``--help``.

usage: python .ci/share.py DIRECTORY   (what a system has in /usr/share)
"""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from unittest.mock import patch

import shtab
from argparse_manpage.manpage import Manpage

SHELLS = {"bash": "bash-completion/completions/{}", "zsh": "zsh/site-functions/_{}"}


def parser_of(script: EntryPoint) -> argparse.ArgumentParser | None:
    """The parser that a command makes for ``--help``; ``None`` where it has help of its own."""
    made: list[argparse.ArgumentParser] = []

    def keep(parser: argparse.ArgumentParser, file: object = None) -> None:
        made.append(parser)

    argv = patch.object(sys, "argv", [script.name])
    with patch.object(argparse.ArgumentParser, "print_help", keep), argv, suppress(SystemExit):
        script.load()(["--help"])
    return made[0] if made else None


def man_page(name: str, parser: argparse.ArgumentParser) -> str:
    """In roff, for section 1; what stands below the options keeps its lines."""
    epilog, parser.epilog, parser.prog = parser.epilog or "", None, name
    page = Manpage(parser)
    page.source, page.manual = f"pegasus-toolkit {version('pegasus-toolkit')}", "pegasus-toolkit"
    page.description = re.split(r"[.:](?:\s|$)", " ".join((parser.description or "").split()))[0]
    lines = [line.replace("\\", "\\e").replace("-", "\\-") for line in epilog.splitlines()]
    guarded = ["\\&" + line if line[:1] in (".", "'") else line for line in lines]
    return "\n".join([str(page).rstrip(), ".SH MORE", ".nf", *guarded, ".fi"])


def main(top: Path) -> None:
    """Writes all of them below ``top``."""
    for script in entry_points(group="console_scripts"):
        if not script.value.startswith("pegasus_toolkit."):
            continue
        parser = parser_of(script)
        if parser is None:
            continue
        write(top / f"man/man1/{script.name}.1", man_page(script.name, parser))
        for shell, path in SHELLS.items():
            write(top / path.format(script.name), shtab.complete(parser, shell))


def write(path: Path, text: str) -> None:
    """With the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.endswith("\n") else text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
