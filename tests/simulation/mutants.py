"""``python -m tests.simulation.mutants [SEEDS]``: switches rules of the engine off, one at a time.

Each must make the simulation fail, or the simulation proves nothing of that rule.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ENGINE = "src/pegasus_toolkit/transfer/engine"


class Mutant(NamedTuple):
    """``old`` stands once in ``file`` of the engine; with ``new`` the rule is off."""

    rule: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant("back-off of a file", "scheduler.py", "self._retry.delay(task.round - 1, error, moved)", "0.0"),
    Mutant("back-off grows", "retry.py", "self.first * 2.0 ** (round_ - 1)) * (0.5", "self.first) * (0.5"),
    Mutant("patience with a restart", "retry.py", "max(soon, min(self.patience, later))", "soon"),
    Mutant("Retry-After", "hosts.py", "asked = error.retry_after or 0.0 if", "asked = 0.0 if"),
    Mutant("pause of all lanes", "lanes.py", "any(host.paused_until > now for host in self.hosts)", "False"),
    Mutant("throttling uses up no attempt", "tasks.py", 'elif verdict == "borne":', "elif False:"),
    Mutant("patience with a host", "hosts.py", "if patient and waited < self._retry.patience:", "if False:"),
    Mutant("patience ends", "hosts.py", "if patient and waited < self._retry.patience:", "if patient:"),
    Mutant("max attempts", "tasks.py", "self.counts[here] >= rounds", "self.counts[here] > rounds"),
    Mutant("failover by side", "tasks.py", 'if side == "source":', 'if side == "":'),
    Mutant("failover by side, of destinations", "tasks.py", 'if side == "destination":', 'if side == "":'),
    Mutant("side of a relay's errors", "relay.py", "error.side = error.side or side", "pass"),
    Mutant("order of sources", "tasks.py", "range(self.position + 1, len(pairs))", "range(0, len(pairs))"),
    Mutant("permanent errors are final", "tasks.py", "self.dead |= set(concerned)", "pass"),
    Mutant("exit code of mixed errors", "tasks.py", "return hopeful[-1] if hopeful else last", "return last"),
    Mutant("exit code of a run", "engine.py", "max(self.exit_code, outcome.error.exit_code)", "1"),
    Mutant("limit of a host", "slots.py", "free = min(free, host.free //", "free = min(free, 99 or host.free //"),
    Mutant("overall limit", "slots.py", "free = machine.free", "free = 99"),
    Mutant("slots of the silent are lent", "watch.py", "self._scheduler.lend(worker, idle > SILENT)", "pass"),
    Mutant("stalls are ended", "watch.py", "if idle > patience and verb not in UNWATCHED:", "if False:"),
    Mutant("who stalls in a relay's beginning", "worker.py", "and self._preparing is None", "and True"),
    Mutant("cancelling", "worker.py", "            self.control.stop = error\n", "            pass\n"),
    Mutant("cancelling what waits", "scheduler.py", "        self._cancelled = error\n", ""),
    Mutant("who does not come back is left behind", "watch.py", "            self._abandon(worker, error)", "            pass"),
    Mutant("what is taken is settled", "worker.py", "            self._failed(job.task, error)\n        if alone", "            pass\n        if alone"),
    Mutant("verified before it is published", "relay.py", "            digest = finish_get(job)\n", "            digest = ''\n"),
    Mutant("proof", "finish.py", "if found != digest:", "if False:"),
    Mutant("what cannot be proven is removed", "finish.py", "            for _ in backend.remove([job.path]):\n                pass\n", "            pass\n"),
    Mutant("copies that are refused", "worker.py", "self.scheduler.reroute_copy(task)", "pass"),
    Mutant("large files take the pipe", "worker.py", "self.scheduler.reroute_large(job.task)", "pass"),
    Mutant("pause between the halves of a relay", "relay.py", "            if worker.paused:  # as for", "            if False:  # as for"),
    Mutant("directories first", "engine.py", "for kind in (0, 1, 2)]", "for kind in (1, 0, 2)]"),
]  # fmt: skip


def survives(mutant: Mutant, seeds: int) -> bool:
    """Whether the simulation passes with that rule off."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        shutil.copytree(ROOT / "src", Path(directory, "src"), ignore=shutil.ignore_patterns("__pycache__"))
        file = Path(directory, ENGINE, mutant.file)
        text = file.read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(
                f"{mutant.rule}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
            )
        file.write_text(text.replace(mutant.old, mutant.new))
        path = os.pathsep.join([str(Path(directory, "src")), str(ROOT)])
        environ = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        words = [sys.executable, "-m", "tests.simulation", "--first-failure", "0", str(seeds)]
        done = subprocess.run(words, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 1 and "fails" not in done.stdout:
            raise SystemExit(f"{mutant.rule}: {done.stderr}")
        return done.returncode == 0


def main(arguments: list[str]) -> int:
    seeds = int(arguments[0]) if arguments else 600
    left = []
    for mutant in MUTANTS:
        lives = survives(mutant, seeds)
        print(f"{'SURVIVES' if lives else 'killed  '}  {mutant.rule}", flush=True)
        left += [mutant.rule] if lives else []
    print(f"{len(MUTANTS) - len(left)} of {len(MUTANTS)} killed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
