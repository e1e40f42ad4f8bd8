"""HTCondor's pool, where this machine has one: no package brings it, so tests alone may do without."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pegasus_toolkit.engines.htcondor.commands import Commands
from pegasus_toolkit.engines.htcondor.schedd import SUBMIT, NoPool, text


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """The queue, by HTCondor's commands. Skips, visibly, where there is none; in the gate too."""
    schedd = Commands(os.environ)
    if not shutil.which(SUBMIT):  # a condor_q may be ours, for local runs
        pytest.skip(f"no HTCondor pool here: {SUBMIT} is not on PATH")
    try:
        schedd.jobs("false")
    except NoPool as reason:
        pytest.skip(f"no HTCondor pool here: {reason}")
    yield schedd
    base = f"{tmp_path_factory.getbasetemp()}/"
    for job in schedd.jobs(f"substr(UserLog, 0, {len(base)}) == {text(base)}"):
        with suppress(NoPool):  # gone with another
            schedd.remove(job.cluster)
