"""A stand-in for FDT, which no registry has: a program in the place of ``java`` with fdt.jar's command line.

Its server is a listener that does nothing, and a directory. It puts files by the paths below the directory
that they have in common, writes its runs down, and fails as a whole when a file is missing.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

JAVA = """#!{python}
import os, shutil, sys
words = sys.argv[1:]
assert words[0] == "-jar" and words[1].endswith("fdt.jar"), words
root, log = {root!r}, {log!r}
options, files, flags = {{}}, [], set()
rest = words[2:]
while rest:
    word = rest.pop(0)
    if word in ("-c", "-p", "-d", "-P"):
        options[word] = rest.pop(0)
    elif word in ("-pull", "-noupdates", "-silent"):
        flags.add(word)
    else:
        assert word.startswith("/"), word
        files.append(word)
with open(log, "a") as out:
    out.write(("pull " if "-pull" in flags else "push ") + str(len(files)) + "\\n")
common = os.path.commonpath([os.path.dirname(one) for one in files])
for one in files:
    name = os.path.relpath(one, common)
    source, target = one, root + options["-d"] + "/" + name
    if "-pull" in flags:
        source, target = root + one, options["-d"] + "/" + name
    if not os.path.isfile(source) or os.path.basename(one) == "refused":
        sys.exit("no such file: " + one)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target + ".tmp")
    os.replace(target + ".tmp", target)
"""


class FdtWorld(NamedTuple):
    """``root``: what is at the server; ``java``: the stand-in; ``jar``: a file; ``log``: its runs."""

    port: int
    root: Path
    java: Path
    jar: Path
    log: Path

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"localhost:{self.port}"

    def section(self, **instead: str) -> str:
        """For the credentials file."""
        known = {"jar": str(self.jar), "java": str(self.java), **instead}
        return f"[fdt://{self.authority}]\n" + "".join(f"{k} = {v}\n" for k, v in known.items() if v)

    def runs(self) -> list[str]:
        """What was run, in order."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@contextmanager
def serve(base: Path) -> Iterator[FdtWorld]:
    """Nothing is at the server."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
        (base / "root").mkdir(parents=True)
        port = listener.getsockname()[1]
        world = FdtWorld(port, base / "root", base / "java", base / "fdt.jar", base / "log")
        text = JAVA.format(python=sys.executable, root=str(world.root), log=str(world.log))
        world.java.write_text(text)
        world.java.chmod(0o755)
        world.jar.write_bytes(b"PK")
        yield world


@pytest.fixture
def fdt(tmp_path: Path) -> Iterator[FdtWorld]:
    """One for each test."""
    with serve(tmp_path / "fdt") as world:
        yield world


@pytest.fixture(scope="session")
def fdt_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FdtWorld]:
    """One for all tests that work in directories of their own."""
    with serve(tmp_path_factory.mktemp("fdt") / "fdt") as world:
        yield world
