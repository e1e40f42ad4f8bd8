"""Which engine runs a DAG: HTCondor where there is a pool, else this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pegasus_toolkit.engines.htcondor.schedd import NoPool, Schedd, find


class Choice(NamedTuple):
    """``schedd``: the queue to submit to; None: this machine alone. ``why``: one line for people."""

    schedd: Schedd | None
    why: str


def choose(wanted: str, dag: str, environ: Mapping[str, str]) -> Choice:
    """``wanted``: auto, htcondor or local; ``dag``: the DAG file.

    Raises :class:`NoPool` where HTCondor is asked for and not here.
    """
    if wanted == "local":
        return Choice(None, "engine: local, as asked for")
    from pegasus_toolkit.engines.htcondor.dagman import local

    if wanted == "auto" and local(dag):
        return Choice(None, "engine: local, which has begun this run")
    try:
        schedd = find(environ)
    except NoPool as reason:
        if wanted == "htcondor":
            raise
        return Choice(None, f"engine: local, since there is no HTCondor: {reason}")
    return Choice(schedd, f"engine: HTCondor, by {schedd.way}")
