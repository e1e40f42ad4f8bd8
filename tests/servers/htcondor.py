"""HTCondor's pool, where this machine has one: no package brings it, so tests alone may do without."""

from __future__ import annotations

import os

import pytest

from pegasus_toolkit.engines.htcondor.commands import Commands
from pegasus_toolkit.engines.htcondor.schedd import NoPool


@pytest.fixture(scope="session")
def pool() -> Commands:
    """The queue, by HTCondor's commands. Skips, visibly, where there is none; in the gate too."""
    schedd = Commands(os.environ)
    try:
        schedd.jobs("false")
    except NoPool as reason:
        pytest.skip(f"no HTCondor pool here: {reason}")
    return schedd
