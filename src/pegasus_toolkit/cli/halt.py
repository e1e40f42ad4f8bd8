"""``pegasus-halt``: ends a run gracefully; jobs that run come to their end, no other is begun."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pegasus_toolkit.cli import watching

DESCRIPTION = """\
Halts the run of the workflow in SUBMITDIR: jobs that run come to their end, and no other is begun. Then the
run is over, and pegasus-run SUBMITDIR goes on from there. pegasus-remove ends running jobs, too."""

EPILOG = """\
exit codes: 0: the run was told to halt; 1: it is not running; 2: no run found in that directory."""

_NAME = "pegasus-halt"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    made = watching.parser(_NAME, DESCRIPTION, EPILOG)
    made.add_argument("--json", action="store_true", help="tell of it as JSON")
    options = watching.parsed(made, None if argv is None else list(argv))
    if isinstance(options, int):
        return options
    return watching.ended(_NAME, lambda: _halt(options.submitdir, options.verbose, options.json))


def _halt(directory: str, verbose: int, as_json: bool) -> int:
    from pegasus_toolkit.monitor.locate import find
    from pegasus_toolkit.monitor.status import status
    from pegasus_toolkit.monitor.tree import walk

    run = find(directory)
    dags = []
    for branch, connection in walk(run, note=watching.noting(_NAME, verbose)):
        state = status(connection, branch.run).state
        if not branch.path and state not in ("Running", "Held"):
            print(f"{_NAME}: {run.directory} does not run: {state}", file=sys.stderr)
            return 1
        dags.append(branch.run.dag)
    for dag in dags:  # what DAGMan looks for, and the local engine as well
        Path(f"{dag}.halt").touch()
    if as_json:
        import json

        print(json.dumps({"submit_dir": run.directory, "halted": dags}))
        return 0
    print(
        f"{run.directory} halts when the jobs that run now have ended\nto go on:  pegasus-run {run.directory}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
