"""Many small files through a system that a tool of its own moves: ours beside a process for each file.

usage: python -m benchmarks.bench_many_small SYSTEM [--files 1000] [--each 10] [--rounds 3] [--ours DIR]
           [--upstream DIR]

Ours moves all files by one command, in turns with the other way:

* globus: upstream's tool moves the first ``--each`` of them, one process after the other, at the same server,
  and its time for all is that of one times their number. Without ``--upstream`` the process does nothing.
* irods-put, irods-get, osdf-put, osdf-get: upstream's ``pegasus-transfer`` is told to move all of them, with
  programs in the place of ``iput`` or ``pelican`` that move nothing and end at once, because those cannot be
  had. What is told of it is what starting the processes costs.
* rucio-get: Rucio's own client, a process for each of the first ``--each`` files.

``--upstream`` is an environment with ``pegasus-wms-worker`` (and 'globus-sdk<4' for Globus) in which
``benchmarks/upstream_commands.py`` was run.

A further system is a function in ``SYSTEMS``: a context manager that starts its server, and says what is to
be moved, how the other way moves it, and what has arrived.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure
from tests.servers import globus as globus_server
from tests.servers import grid_pki
from tests.servers import irods as irods_server
from tests.servers import rucio as rucio_server
from tests.servers.common import public_directory
from tests.servers.osdf import federation

SIZE = 4096  # bytes of each file
TOOL = "pegasus-globus-online.py"
NOTHING = "#!/bin/sh\n"  # a program that moves nothing
STUBS = {
    "pelican": f'{NOTHING}[ "$1" = --version ] && echo "Version: 7.10.0"\nexit 0\n',
    "iinit": f'{NOTHING}umask 077; : > "$IRODS_AUTHENTICATION_FILE"\n',
    "iget": f"{NOTHING}echo Version 4.3.4\n",
    "iput": NOTHING,
    "imkdir": NOTHING,
}


class System(NamedTuple):
    """``pairs``: URLs of each file and of its copy; ``arrived``: how many copies are there, whole;
    ``clear``: removes them; ``one``: the command that moves the file of that number, by upstream's
    environment (``None``: there is none), else upstream's command moves all by ``STUBS``."""

    pairs: Sequence[tuple[str, str]]
    environ: Mapping[str, str]
    arrived: Callable[[], int]
    clear: Callable[[], None]
    one: Callable[[int, Path | None], list[str]] | None = None


def nothing(number: int, upstream: Path | None) -> list[str]:
    """Stands for a tool that cannot be had."""
    return ["true"]


def copies(pairs: Sequence[tuple[str, str]], left: Path, right: Path, environ: Mapping[str, str]) -> System:
    """A system whose files are those in ``left``, and are to be in ``right`` under the same names."""
    names = sorted(os.listdir(left))

    def arrived() -> int:
        there = [name for name in names if (right / name).exists()]
        return sum((right / name).read_bytes() == (left / name).read_bytes() for name in there)

    def clear() -> None:
        shutil.rmtree(right, ignore_errors=True)
        right.mkdir()
        right.chmod(0o777)

    return System(pairs, environ, arrived, clear)


def filled(directory: Path, files: int) -> list[str]:
    """Makes them; their names."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    names = [f"f{number:05}" for number in range(files)]
    for name in names:
        (directory / name).write_bytes(name.encode() * (SIZE // len(name)))
    return names


@contextmanager
def globus(directory: Path, files: int) -> Iterator[System]:
    """Between two collections of a stand-in for Globus' services, which moves real files at once."""
    with globus_server.serve() as server:
        left, right = directory / "left", directory / "right"
        one, other = server.collection(left), server.collection(right)
        names = filled(left, files)
        conf = server.conf(directory / "globus.conf", login="transfer_at = x")

        def tool(number: int, upstream: Path | None) -> list[str]:
            found = sorted((upstream or directory).glob(f"lib/*/site-packages/Pegasus/cli/{TOOL}"))
            if not found or upstream is None:
                return nothing(number, upstream)
            name = names[number]
            spec = {
                "src_endpoint": one, "dst_endpoint": other, "client_id": "x", "transfer_at": "x",
                "transfer_rt": "x", "transfer_at_exp": 4_000_000_000,
                "files": [{"src": f"/{name}", "dst": f"/{name}"}],
            }  # fmt: skip
            path = directory / f"{name}.json"
            path.write_text(json.dumps(spec))
            return [str(upstream / "bin/python"), str(found[0]), "--transfer", "--file", str(path)]

        pairs = [(f"go://{one}/{name}", f"go://{other}/{name}") for name in names]
        environ = {**server.environ, "GLOBUS_CONF": str(conf)}
        yield copies(pairs, left, right, environ)._replace(one=tool)


@contextmanager
def irods(way: str, directory: Path, files: int) -> Iterator[System]:
    """A stand-in for a zone, which speaks the real protocol."""
    with irods_server.serve(directory) as zone:
        url = f"irods://{zone.authority}/{irods_server.ZONE}/home/{irods_server.USER}/d"
        environ = {"IRODS_ENVIRONMENT_FILE": str(zone.environment(directory))}
        ends = End(directory / "local", ""), End(zone.home / "d", url)
        yield between(ends if way == "put" else ends[::-1], files, environ)


@contextmanager
def osdf(way: str, directory: Path, files: int) -> Iterator[System]:
    """A federation: a director of our own, a real XRootD origin, two in the place of caches; all with TLS."""
    with public_directory("bench-") as pki, federation(grid_pki.make(pki)) as served:
        token = directory / "token"
        token.touch(mode=0o600)
        token.write_text("token")
        trusted = str(served.grid.certificates)
        environ = {"X509_CERT_DIR": trusted, "SSL_CERT_DIR": trusted, "BEARER_TOKEN_FILE": str(token)}
        url = f"pelican://{served.host}/data/d"
        ends = End(directory / "local", ""), End(served.origin.data / "d", url)
        yield between(ends if way == "put" else ends[::-1], files, environ)


@contextmanager
def rucio(directory: Path, files: int) -> Iterator[System]:
    """From a storage element of a real Rucio server, whose files are in a directory of this machine."""
    with public_directory("rucio-") as home, rucio_server.serve(home, grid_pki.make(directory)) as server:
        left, right, element = directory / "left", directory / "right", directory / "element"
        rse = server.rse("BENCH_SCRATCHDISK", ("file", "localhost", 0, f"{element}/"))
        dids = [f"{rucio_server.SCOPE}:{name}" for name in filled(left, files)]
        for did in dids:
            path = element / rucio_server.place(did)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(left / path.name, path)
        for at in range(0, files, 500):
            some = {did: (left / did.partition(":")[2]).read_bytes() for did in dids[at : at + 500]}
            server.register(rse, some)
        conf = directory / "rucio.cfg"
        conf.touch(0o600)
        conf.write_text(server.section(auth_host=server.url).replace("[rucio]", "[client]"))

        def tool(number: int, upstream: Path | None) -> list[str]:
            program = str(Path(sys.executable).with_name("rucio"))
            return [program, "download", "--no-subdir", "--dir", str(right), dids[number]]

        pairs = [(f"rucio://{did}", f"file://{right}/{did.partition(':')[2]}") for did in dids]
        yield copies(pairs, left, right, {"RUCIO_CONFIG": str(conf)})._replace(one=tool)


class End(NamedTuple):
    """A directory of this machine, and the URL that a server gives it ("": it is local)."""

    directory: Path
    url: str

    def of(self, name: str) -> str:
        return f"{self.url or f'file://{self.directory}'}/{name}"


def between(ends: Sequence[End], files: int, environ: Mapping[str, str]) -> System:
    """From the first to the second."""
    source, target = ends
    names = filled(source.directory, files)
    pairs = [(source.of(name), target.of(name)) for name in names]
    return copies(pairs, source.directory, target.directory, environ)


SYSTEMS: dict[str, Callable[[Path, int], AbstractContextManager[System]]] = {
    "globus": globus,
    "irods-put": partial(irods, "put"),
    "irods-get": partial(irods, "get"),
    "osdf-put": partial(osdf, "put"),
    "osdf-get": partial(osdf, "get"),
    "rucio-get": rucio,
}


class Round(NamedTuple):
    """Seconds for all files."""

    ours: float
    theirs: float


class Bench(NamedTuple):
    """``ours``, ``upstream``: environments; ``each``: how many files ``one`` moves."""

    system: System
    spec: Path
    ours: Path
    upstream: Path | None
    each: int

    def round(self) -> Round:
        """Ours, then the others."""
        system = self.system
        system.clear()
        used = measure.run(
            [[str(self.ours / "pegasus-transfer"), "-q", "-f", str(self.spec)]], system.environ
        )
        if used.code or system.arrived() != len(system.pairs):
            raise SystemExit(
                f"ours ended with {used.code}, {system.arrived()} files are there: {used.output}"
            )
        system.clear()
        return Round(used.seconds, self._by_stubs() if system.one is None else self._one_by_one(system.one))

    def _one_by_one(self, one: Callable[[int, Path | None], list[str]]) -> float:
        commands = [one(number, self.upstream) for number in range(self.each)]
        theirs = measure.run(commands, self.system.environ)
        arrived = self.system.arrived()
        if theirs.code or (commands[0] != ["true"] and arrived != self.each):
            raise SystemExit(f"the other ended with {theirs.code}, {arrived} files: {theirs.output}")
        return theirs.seconds / self.each * len(self.system.pairs)

    def _by_stubs(self) -> float:
        if self.upstream is None:
            return 0.0
        place = self.spec.parent / "stubs"
        place.mkdir(exist_ok=True)
        for name, text in STUBS.items():
            (place / name).write_text(text)
            (place / name).chmod(0o755)
        environ = {**self.system.environ, "PATH": f"{place}:{os.environ['PATH']}"}
        program = str(self.upstream / "bin/pegasus-transfer")  # it writes where it is
        used = measure.run([["env", "-C", str(place), program, "-f", str(self.spec)]], environ)
        if used.code:
            raise SystemExit(f"upstream ended with {used.code}: {used.output}")
        return used.seconds


def named(command: Sequence[str]) -> str:
    """The program; with Python, that which it runs."""
    return Path(command[1] if Path(command[0]).name.startswith("python") else command[0]).name


def main(argv: Sequence[str] | None = None) -> int:
    """Prints medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("system", choices=sorted(SYSTEMS))
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--upstream", type=Path)
    got = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name, SYSTEMS[got.system](Path(name), got.files) as system:
        spec = Path(name) / "spec.json"
        entries = [
            {
                "type": "transfer",
                "src_urls": [{"site_label": "a", "url": source}],
                "dest_urls": [{"site_label": "b", "url": target}],
            }
            for source, target in system.pairs
        ]
        spec.write_text(json.dumps(entries))
        upstream = got.upstream and got.upstream.absolute()
        bench = Bench(system, spec, got.ours, upstream, min(got.each, got.files))
        rounds = [bench.round() for _ in range(got.rounds)]
        tool = system.one(0, upstream) if system.one else []
    ours = statistics.median(one.ours for one in rounds)
    theirs = statistics.median(one.theirs for one in rounds)
    print(f"{got.system}, {got.files} files of {SIZE} bytes: ours {ours:.2f} s")
    if not tool:
        what = "upstream's pegasus-transfer, with programs that move nothing"
    else:
        what = "a process that does nothing" if tool == ["true"] else f"the process {named(tool)}"
        what += f" for each file ({bench.each} were moved)"
    print(f"{what}: {theirs:.2f} s, {theirs / ours:.1f} x ours")
    print("rounds:", " ".join(f"{one.ours:.2f}/{one.theirs:.2f}" for one in rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
