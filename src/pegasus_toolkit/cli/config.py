"""``pegasus-config``: where the commands are, and which Pegasus they serve; PegasusLite's scripts ask it."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help

DESCRIPTION = """\
Tells where the commands of this installation are. PegasusLite's scripts ask it for the version: that is the
one of Pegasus' own pegasus-config or pegasus-kickstart on PATH, so that a node with pegasus-kickstart and
these commands needs no worker package. Without either it is this project's own."""

_NAME = "pegasus-config"
_OTHERS = ("java", "schema", "r", "classpath")  # of what is not here


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 1 for what is not part of this installation."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    places = _places()
    end = "" if options.noeoln else "\n"
    if options.version:
        print(_version(os.environ), end=end)
    elif options.sh_dump:
        print("".join(f"{key}={shlex.quote(value)}\nexport {key}\n" for key, value in places.items()), end="")
    elif options.python_dump:
        print("".join(f"{key.lower()} = {value!r}\n" for key, value in places.items()), end="")
    elif options.place:
        print(places[options.place], end=end)
    else:
        wanted = options.other or "an option"
        text = f"there is no {wanted} here: this is pegasus-toolkit, which has none of Pegasus' Java"
        print(f"{_NAME}: {text if options.other else 'expected an option, see --help'}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME, description=DESCRIPTION, allow_abbrev=False, formatter_class=Help
    )
    add = parser.add_argument
    add("--noeoln", action="store_true", help="no end of line after the output")
    add("-V", "--version", action="store_true", help="the version of Pegasus that the commands serve")
    add("--sh-dump", action="store_true", help="all places as variables of a shell")
    add("--python-dump", action="store_true", help="all places as variables of Python")
    for name, key, text in (
        ("bin", "PEGASUS_BIN_DIR", "the directory of the commands"),
        ("conf", "PEGASUS_CONF_DIR", "the directory of site-wide configuration"),
        ("python", "PEGASUS_PYTHON_LIB_DIR", "the directory for PYTHONPATH"),
        ("python-externals", "PEGASUS_PYTHON_EXTERNALS_DIR", "the same"),
    ):
        add(f"--{name}", action="store_const", const=key, dest="place", help=text)
    for name in _OTHERS:
        add(f"--{name}", action="store_const", const=name, dest="other", help=argparse.SUPPRESS)
    return parser


def _places() -> Mapping[str, str]:
    bin = Path(sys.executable).parent
    found = importlib.util.find_spec("Pegasus") or importlib.util.find_spec("pegasus_toolkit")
    locations = list(found.submodule_search_locations or ()) if found is not None else []
    python = str(Path(locations[0]).parent) if locations else ""
    return {
        "PEGASUS_BIN_DIR": str(bin),
        "PEGASUS_CONF_DIR": str(bin.parent / "etc"),
        "PEGASUS_PYTHON_LIB_DIR": python,
        "PEGASUS_PYTHON_EXTERNALS_DIR": python,
    }


def _version(environ: Mapping[str, str]) -> str:
    for name, option in ((_NAME, "--version"), ("pegasus-kickstart", "-V")):
        program = _theirs(name, environ)
        if program:
            done = subprocess.run([program, option], capture_output=True, text=True, check=False)
            if done.returncode == 0 and done.stdout.strip():
                return done.stdout.split()[-1]
    return __version__


def _theirs(name: str, environ: Mapping[str, str]) -> str:
    """A program of that name on PATH that is not of ours."""
    for directory in environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(name, path=directory) if directory else None
        if path is not None:
            try:
                if b"pegasus_toolkit" not in Path(path).read_bytes()[:4096]:
                    return path
            except OSError:
                continue
    return ""


if __name__ == "__main__":
    sys.exit(main())
