"""``pegasus-condor-q``: ``condor_q`` for runs of the local engine, where there is no HTCondor.

Pegasus' Python API asks ``condor_q`` for its jobs and cannot do without. So a symbolic link of that name is
put beside ``pegasus-run`` when a run begins in the background and no ``condor_q`` is there; should HTCondor
come later, its own is called by it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help

if TYPE_CHECKING:
    from pegasus_toolkit.monitor.queue import Ad

DESCRIPTION = """\
Lists the jobs of workflows that the local engine runs on this machine for this user, as condor_q does for
HTCondor's. Where HTCondor is, its own condor_q is called."""

_NAME = "condor_q"
_OURS = "pegasus-condor-q"
_STATES = {1: "I", 2: "R", 5: "H"}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0, or 1 where the question is not understood or not for us."""
    words = sys.argv[1:] if argv is None else list(argv)
    if real := _real(os.environ):
        os.execve(real, [real, *words], os.environ)
    if _htcondor(os.environ):
        return _refuse("HTCondor is installed here, but its condor_q is not on PATH")
    try:
        options = _parser().parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    from pegasus_toolkit.dag import constraint

    try:
        wanted = [constraint.parse(one) for one in options.constraint]
    except ValueError as error:
        return _refuse(f"-constraint: {error}; without HTCondor only comparisons, &&, || and ! are known")
    numbers = {one.partition(".")[0] for one in options.numbers}
    found = []
    for ad in _ads(os.environ):
        known = {key.lower(): value for key, value in ad.items()}
        if all(holds(known) is True for holds in wanted) and (not numbers or str(ad["ClusterId"]) in numbers):
            found.append(ad)
    _print(found, options)
    return 0


def provide(environ: Mapping[str, str]) -> str:
    """Sees to it that there is a ``condor_q`` that Pegasus' API can call. Gives "", or what hinders it."""
    if _htcondor(environ) or shutil.which(_NAME, path=environ.get("PATH")):
        return ""
    ours = shutil.which(_OURS, path=f"{Path(sys.executable).parent}:{environ.get('PATH', '')}")
    if ours is None:
        return ""  # not installed, but run from its sources: no API calls that
    link = Path(ours).with_name(_NAME)
    try:
        link.symlink_to(_OURS)
    except FileExistsError:
        return ""
    except OSError as error:
        return (
            f"Pegasus' Python API needs a condor_q for wait() and status(), and {link} cannot be made: "
            f"{error.strerror}; make a link of that name to {ours} in a directory on PATH"
        )
    return ""


def _real(environ: Mapping[str, str]) -> str:
    """HTCondor's own ``condor_q``, wherever on PATH it is; ours are scripts that name this module."""
    for directory in environ.get("PATH", "").split(os.pathsep):
        path = shutil.which(_NAME, path=directory) if directory else None
        if path is not None:
            try:
                ours = __name__.encode() in Path(path).read_bytes()[:4096]
            except OSError:  # one that may only be run
                ours = False
            if not ours:
                return path
    return ""


def _htcondor(environ: Mapping[str, str]) -> bool:
    from pegasus_toolkit.engines.htcondor.schedd import installed

    return installed(environ)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_NAME, description=DESCRIPTION, allow_abbrev=False, formatter_class=Help
    )
    add = parser.add_argument
    add("numbers", nargs="*", metavar="CLUSTER", help="these jobs alone")
    add(
        "-constraint",
        "--constraint",
        action="append",
        default=[],
        metavar="EXPRESSION",
        help="for which it is true",
    )
    add("-json", "--json", action="store_true", help="as a JSON list of ads")
    add("-attributes", "--attributes", default="", metavar="A,B", help="these attributes of the ads alone")
    for name in ("allusers", "nobatch"):
        add(f"-{name}", action="store_true", help="nothing to do here")
    add("-version", "--version", action="version", version=f"pegasus-toolkit {__version__}, without HTCondor")
    return parser


def _ads(environ: Mapping[str, str]) -> Iterator[Ad]:
    from pegasus_toolkit.cli import local_runs
    from pegasus_toolkit.monitor.queue import ads

    for pid, dag in local_runs.running(environ):
        yield from ads(dag, pid)


def _print(found: list[Ad], options: argparse.Namespace) -> None:
    wanted = {one.strip().lower() for one in options.attributes.split(",") if one.strip()}
    if options.json:
        import json

        shown = [
            {key: value for key, value in ad.items() if not wanted or key.lower() in wanted} for ad in found
        ]
        print(json.dumps(shown, indent=1))
        return
    print(f"{'ID':>10} {'ST':<2} JOB")
    for ad in found:
        name = ad.get("pegasus_wf_dag_job_id", ad["Cmd"])
        print(f"{ad['ClusterId']:>10} {_STATES[int(str(ad['JobStatus']))]:<2} {name}")
    print(f"\n{len(found)} jobs, of the local engine: there is no HTCondor here")


def _refuse(text: str) -> int:
    print(f"{_NAME}: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
