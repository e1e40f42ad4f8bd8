"""Which engine runs a DAG: HTCondor where it is installed, else this machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pegasus_toolkit.engines.htcondor.schedd import NoPool, NotInstalled, Schedd, find


class Choice(NamedTuple):
    """``schedd``: the queue to submit to; None: this machine alone. ``why``: one line for people."""

    schedd: Schedd | None
    why: str


def choose(wanted: str, dag: str, environ: Mapping[str, str]) -> Choice:
    """``wanted``: auto, htcondor or local; ``dag``: the DAG file.

    Raises :class:`NoPool` where HTCondor is asked for and not here, or installed and its queue does not
    answer: who has a pool does not want all jobs on the submit host.
    """
    if wanted == "local":
        return Choice(None, "engine: local, as asked for")
    from pegasus_toolkit.engines.htcondor.dagman import local

    if wanted == "auto" and local(dag):
        return Choice(None, "engine: local, which has begun this run")
    try:
        schedd = find(environ)
    except NotInstalled as reason:
        if wanted == "htcondor":
            raise
        return Choice(None, f"engine: local, since there is no HTCondor: {reason}")
    except NoPool as reason:
        text = f"HTCondor is installed here, but its queue does not answer: {reason}"
        raise NoPool(f"{text}; pegasus-run --engine local runs it on this machine alone") from None
    return Choice(schedd, f"engine: HTCondor, by {schedd.way}")
