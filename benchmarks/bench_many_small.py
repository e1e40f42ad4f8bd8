"""Many small files through a system that a tool of its own moves: ours beside a process for each file.

usage: python -m benchmarks.bench_many_small globus [--files 1000] [--each 10] [--rounds 3] [--ours DIR]
           [--upstream DIR]

Ours moves all files by one command; the other way moves the first ``--each`` of them, one process after the
other, and its time for all is that of one times their number. Both ask the same server, in turns.
``--upstream`` is an environment with upstream's tool (``pip install pegasus-wms-worker 'globus-sdk<4'``);
without it, and for systems whose tool cannot be had, the process is one that does nothing (``true``).

A further system is a function in ``SYSTEMS``: a context manager that starts its server, and says what is to
be moved, what moves one file, and what has arrived.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import measure
from tests.servers import globus as globus_server

SIZE = 4096  # bytes of each file
TOOL = "pegasus-globus-online.py"


class System(NamedTuple):
    """``pairs``: URLs of each file and of its copy; ``one``: the command that moves the file of that number,
    by upstream's environment (``None``: there is none); ``arrived``: how many files are there, whole;
    ``clear``: removes them."""

    pairs: Sequence[tuple[str, str]]
    environ: dict[str, str]
    one: Callable[[int, Path | None], list[str]]
    arrived: Callable[[], int]
    clear: Callable[[], None]


def nothing(number: int, upstream: Path | None) -> list[str]:
    """Stands for a tool that cannot be had."""
    return ["true"]


@contextmanager
def globus(directory: Path, files: int) -> Iterator[System]:
    """Between two collections of a stand-in for Globus' services, which moves real files at once."""
    with globus_server.serve() as server:
        left, right = directory / "left", directory / "right"
        one, other = server.collection(left), server.collection(right)
        names = [f"f{n:05}" for n in range(files)]
        for name in names:
            (left / name).write_bytes(name.encode() * (SIZE // len(name)))
        conf = server.conf(directory / "globus.conf", login="transfer_at = x")

        def tool(number: int, upstream: Path | None) -> list[str]:
            found = sorted(
                (upstream or directory).glob("lib/*/site-packages/Pegasus/cli/pegasus-globus-online.py")
            )
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

        def arrived() -> int:
            there = [right / name for name in names if (right / name).exists()]
            return sum(path.read_bytes() == (left / path.name).read_bytes() for path in there)

        def clear() -> None:
            shutil.rmtree(right)
            right.mkdir()

        pairs = [(f"go://{one}/{name}", f"go://{other}/{name}") for name in names]
        environ = {**server.environ, "GLOBUS_CONF": str(conf)}
        yield System(pairs, environ, tool, arrived, clear)


SYSTEMS: dict[str, Callable[[Path, int], AbstractContextManager[System]]] = {"globus": globus}


class Round(NamedTuple):
    """Seconds for all files."""

    ours: float
    theirs: float


def one_round(system: System, spec: Path, ours: Path, upstream: Path | None, each: int) -> Round:
    """Ours, then the others."""
    system.clear()
    used = measure.run([[str(ours / "pegasus-transfer"), "-q", "-f", str(spec)]], system.environ)
    if used.code or system.arrived() != len(system.pairs):
        raise SystemExit(f"ours ended with {used.code}, {system.arrived()} files are there: {used.output}")
    system.clear()
    commands = [system.one(number, upstream) for number in range(each)]
    theirs = measure.run(commands, system.environ)
    if theirs.code or (commands[0] != ["true"] and system.arrived() != each):
        raise SystemExit(f"the other ended with {theirs.code}, {system.arrived()} files: {theirs.output}")
    return Round(used.seconds, theirs.seconds / each * len(system.pairs))


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
        each = min(got.each, got.files)
        rounds = [one_round(system, spec, got.ours, got.upstream, each) for _ in range(got.rounds)]
        tool = system.one(0, got.upstream)
    ours = statistics.median(one.ours for one in rounds)
    theirs = statistics.median(one.theirs for one in rounds)
    what = "a process that does nothing" if tool == ["true"] else f"upstream's {Path(tool[1]).name}"
    print(f"{got.system}, {got.files} files of {SIZE} bytes: ours {ours:.2f} s")
    print(f"{what} for each file: {theirs:.2f} s ({each} were moved), {theirs / ours:.1f} x ours")
    return 0


if __name__ == "__main__":
    sys.exit(main())
