"""Which DAGs the local engine runs on this machine for this user: what stands in for HTCondor's queue.

A directory of symbolic links, one a run, to the DAG's file; the DAG's lock tells whether it still runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def _directory(environ: Mapping[str, str]) -> Path | None:
    state = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if "HOME" in environ else "")
    return Path(state, "pegasus-toolkit", "runs", os.uname().nodename) if state.startswith("/") else None


@contextlib.contextmanager
def listed(dag: str, environ: Mapping[str, str]) -> Iterator[None]:
    """While the run is under way it is among :func:`running`; without a home directory to note it in, not."""
    directory, link = _directory(environ), None
    if directory is not None:
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            at = directory / str(os.getpid())
            at.unlink(missing_ok=True)  # of a process before us that was killed
            at.symlink_to(dag)
            link = at
    try:
        yield
    finally:
        if link is not None:
            with contextlib.suppress(OSError):
                link.unlink()


def running(environ: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """The process that runs it, and the DAG's path; runs that were killed are forgotten."""
    from pegasus_toolkit.engines.local.lock import holder

    directory = _directory(environ)
    if directory is None or not directory.is_dir():
        return
    for link in sorted(directory.iterdir()):
        with contextlib.suppress(OSError):
            dag = str(link.readlink())
            if pid := holder(dag):
                yield pid, dag
            else:
                link.unlink()
