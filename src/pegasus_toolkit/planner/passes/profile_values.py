"""Profiles whose value or name would break the DAG, the submit file or the job that they go into."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pegasus_toolkit.planner.catalogs import Path, Profiles, words
from pegasus_toolkit.planner.model import CONFIGURATIONS, Problem
from pegasus_toolkit.planner.passes.programs import SETUP

_WHOLE = (re.compile(r"\d+", re.A), "a whole number")
_SIGNED = (re.compile(r"[+-]?\d+", re.A), "a whole number")
_WORD = (re.compile(r"\S+"), "a name without spaces")
_DAGMAN = {
    **dict.fromkeys(("maxjobs", "maxidle", "maxpre", "maxpost"), _WHOLE),
    "retry": _WHOLE,
    "priority": _SIGNED,
    "category": _WORD,
    "abort-dag-on": (re.compile(r"-?\d+(\s+RETURN\s+\d+)?", re.A | re.I), "VALUE or VALUE RETURN CODE"),
}
_COUNTS = (
    "checkpoint.time clusters.size clusters.num clusters.maxruntime cores gpus maxwalltime "
    "nodes ppn runtime stagein.clusters stageout.clusters"
)
_PEGASUS = dict.fromkeys(words(_COUNTS), _WHOLE)
# Backslashes would be expanded by the gahp's script.
_PEGASUS["glite.arguments"] = (re.compile(r"[^\0\\]+"), "text without backslashes")
_PEGASUS["data.configuration"] = (
    re.compile("|".join(CONFIGURATIONS), re.I),
    f"one of {', '.join(CONFIGURATIONS)}",
)
_PEGASUS[SETUP] = (re.compile(r"/.*|file:///.*"), "an absolute path")
_COMMAND = re.compile(r"\+?[A-Za-z_][\w.]*", re.A)
# Without these as they are, a job would not be the one that was planned.
_OURS = words(
    "executable arguments environment initialdir transfer_input_files transfer_output_files "
    "transfer_output_remaps queue"
)


def wrong(file: str, path: Path, profiles: Profiles) -> Iterator[Problem]:
    """All of them; an empty value is as good as none."""
    for space, rules in (("dagman", _DAGMAN), ("pegasus", _PEGASUS)):
        for key, value in profiles.get(space, {}).items():
            rule = rules.get(key) or (_WHOLE if space == "dagman" and key.endswith(".maxjobs") else None)
            if value and rule is not None and not rule[0].fullmatch(value):
                yield Problem(file, (*path, space, key), f"expected {rule[1]}, found {value!r}")
    for key in profiles.get("condor", {}):
        if key.lower() in _OURS:
            yield Problem(file, (*path, "condor", key), "this command is the planner's own")
        elif not _COMMAND.fullmatch(key):
            yield Problem(file, (*path, "condor", key), "not a command of a submit file")
    for key in profiles.get("env", {}):
        if not key or "=" in key:
            yield Problem(file, (*path, "env", key), f"no variable can be called {key!r}")
