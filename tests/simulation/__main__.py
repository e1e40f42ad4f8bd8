"""``python -m tests.simulation [--first-failure] [FIRST] [COUNT]``: runs seeds, and says what fails."""

from __future__ import annotations

import sys
import time
import traceback
from multiprocessing import Pool
from os import cpu_count

from tests.simulation.properties import violations
from tests.simulation.scenario import draw, run

PORTION = 20  # seeds that one process takes at a time
PORTIONS = 25  # of one process: what a run leaves in memory adds up


def check(seed: int) -> list[str]:
    """What does not hold in the run of a seed."""
    one = draw(seed)
    try:
        run(one)
    except Exception:  # noqa: BLE001  a run that ends so is a finding as well
        return [f"{one.profile}: " + "".join(traceback.format_exc(limit=-4))]
    return [f"{one.profile}: {what}" for what in violations(one)]


def check_some(seeds: range) -> dict[int, list[str]]:
    """Those that fail, and why."""
    return {seed: found for seed in seeds if (found := check(seed))}


def main(arguments: list[str]) -> int:
    soon = arguments[:1] == ["--first-failure"]
    arguments = arguments[soon:]
    first = int(arguments[0]) if arguments else 0
    count = int(arguments[1]) if len(arguments) > 1 else 1
    began, failed = time.monotonic(), 0
    portions = [range(n, min(n + PORTION, first + count)) for n in range(first, first + count, PORTION)]
    with Pool(min(len(portions), cpu_count() or 1), maxtasksperchild=PORTIONS) as processes:
        for found in processes.imap(check_some, portions):
            for seed, problems in found.items():
                failed += 1
                if failed <= 10:
                    print(f"seed {seed} fails; replay it: python -m tests.simulation {seed}")
                    print("".join(f"    {problem}\n" for problem in problems[:10]), end="", flush=True)
                if soon:
                    return 1
    seconds = time.monotonic() - began
    print(f"{count} seeds, {failed} failed, {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
