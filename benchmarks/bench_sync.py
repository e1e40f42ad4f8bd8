"""Syncing what is unchanged: ours beside ``rclone sync``, and ours by digests out of the cache.

usage: python -m benchmarks.bench_sync [--files 100000] [--rounds 5] [--ours DIR] [--rclone FILE]

Files of a few bytes, a thousand a directory, in a temporary directory. Commands take turns; medians of wall
and processor seconds are printed, and the ratio of each to rclone's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.measure import Usage, run


def write(root: Path, files: int) -> None:
    """The source."""
    for start in range(0, files, 1000):
        folder = root / f"d{start:07d}"
        folder.mkdir(parents=True)
        for number in range(start, min(start + 1000, files)):
            (folder / f"f{number}").write_bytes(b"%d\n" % number)


def timed(argv: list[str], place: str) -> Usage:
    """One command, which must go well."""
    used = run([argv], {"XDG_CACHE_HOME": f"{place}/cache", "RCLONE_CONFIG": f"{place}/none"})
    if used.code != 0:
        raise SystemExit(used.output)
    return used


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--rclone", type=Path, default=Path(".venv-bench/bin/rclone"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, target = f"{place}/source", f"{place}/target"
        write(Path(source), options.files)
        sync = [str(options.ours / "pegasus-files"), "sync", "-q", source, target]
        commands = {
            "rclone sync": [str(options.rclone), "sync", "-q", source, target],
            "sync": sync,
            "sync --checksum": [*sync, "--checksum"],
        }
        timed(sync, place)
        timed(commands["sync --checksum"], place)  # what is younger than two seconds is not remembered
        timed(commands["sync --checksum"], place)
        taken: dict[str, list[Usage]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, argv in commands.items():
                taken[name].append(timed(argv, place))
    base = median(one.seconds for one in taken["rclone sync"])
    for name, all_of_it in taken.items():
        wall = median(one.seconds for one in all_of_it)
        cpu = median(one.cpu for one in all_of_it)
        print(f"{name:16} {wall:6.2f} s wall {cpu:6.2f} s cpu   {wall / base:.2f} of rclone sync")


if __name__ == "__main__":
    main()
