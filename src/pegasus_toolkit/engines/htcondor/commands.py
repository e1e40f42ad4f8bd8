"""HTCondor by its commands."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pegasus_toolkit.engines.htcondor.schedd import SUBMIT, Job, NoPool, Schedd, Submission, text

_PATIENCE = (
    120.0  # seconds; a busy queue may take its time, one that is gone is given up sooner by the commands
)
_NUMBER = re.compile(r"submitted to cluster (\d+)")


class Commands:
    """``environ``: of the commands; ``PATH`` in it says where they are."""

    way = SUBMIT

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def submit(self, submission: Submission) -> int:
        words = [SUBMIT, "-update_submit"]
        if submission.inherited:
            words += ["-include_env", ",".join(submission.inherited)]
        for name, value in submission.attributes.items():
            words += ["-append", f"MY.{name} = {text(value)}"]
        return _number(self._run([*words, submission.dag], str(Path(submission.dag).parent)))

    def start(self, description: str) -> int:
        return _number(self._run(["condor_submit", "-"], given=description))

    def jobs(self, constraint: str) -> list[Job]:
        words = ["condor_q", "-allusers", "-constraint", constraint]
        told = self._run([*words, "-attributes", "ClusterId,UserLog", "-json"])
        try:
            found = json.loads(told) if told.strip() else []
            return [Job(one["ClusterId"], one.get("UserLog", "")) for one in found]
        except (ValueError, KeyError, TypeError):
            raise NoPool(f"condor_q said what is not understood: {_line(told)}") from None

    def remove(self, cluster: int) -> None:
        self._run(["condor_rm", str(cluster)])

    def _run(self, words: Sequence[str], directory: str | None = None, given: str = "") -> str:
        try:
            done = subprocess.run(
                words,
                cwd=directory,
                env=self._environ,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except OSError as error:
            raise NoPool(f"{words[0]} cannot be run: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise NoPool(f"{words[0]} gave no answer in {_PATIENCE:.0f} s") from None
        if done.returncode:
            raise NoPool(f"{words[0]}: {_line(done.stderr) or _line(done.stdout)}")
        return done.stdout


def _number(told: str) -> int:
    match = _NUMBER.search(told)
    if match is None:
        raise NoPool(f"HTCondor did not say the number of the job: {_line(told)}")
    return int(match[1])


def _line(said: str) -> str:
    return " ".join(said.split())[:500]


_: type[Schedd] = Commands
