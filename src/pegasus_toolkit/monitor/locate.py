"""Which run is meant: a submit directory, the ``.dag`` in it, and where its database stands."""

# pathlib would cost start-up time
# ruff: noqa: PTH100, PTH112, PTH113, PTH119, PTH120, PTH123

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

DATABASE = "run.db"


class NotARun(Exception):
    """There is no DAG where one was looked for; the text says what to do."""


class Run(NamedTuple):
    """A run's files. ``directory`` and ``dag`` are absolute paths."""

    directory: str
    dag: str

    @property
    def name(self) -> str:
        """The name of the DAG's file."""
        return os.path.basename(self.dag)

    @property
    def database(self) -> str:
        """``run.db``; a DAG that is not the directory's own has one that is named after it."""
        own = self.dag == _own(self.directory)
        return f"{self.directory}/{DATABASE}" if own else f"{self.dag}.{DATABASE}"

    def file(self, suffix: str) -> str:
        """A file beside the DAG: ``NAME.dag`` + ``suffix``."""
        return self.dag + suffix

    def plan(self) -> dict[str, object]:
        """What ``pegasus-plan`` noted of it; empty where another program planned it."""
        try:
            with open(f"{self.directory}/plan.json", encoding="utf-8") as stream:
                known = json.load(stream)
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and known.get("dag") == self.name else {}

    def planned(self, bundle: str, node: str) -> dict[str, Any]:
        """What the planner wrote of a node into its bundle; empty where that is not there."""
        if not bundle or "/" in bundle:
            return {}
        wanted = json.dumps(node).encode()
        try:
            with open(f"{self.directory}/jobs/{bundle}", "rb") as stream:
                found = (json.loads(line) for line in stream if wanted in line)
                return next((one for one in found if one.get("node") == node), {})
        except (OSError, ValueError, AttributeError):
            return {}


def find(path: str) -> Run:
    """The run of a submit directory, or of a ``.dag`` file. Raises :class:`NotARun`."""
    whole = os.path.abspath(path)
    if os.path.isfile(whole):
        return Run(os.path.dirname(whole), whole)
    if not os.path.isdir(whole):
        raise NotARun(f"{path}: there is no such directory")
    dag = _own(whole)
    if dag:
        return Run(whole, dag)
    several = _dags(whole)
    if several:
        raise NotARun(f"{path}: there are several DAGs, name one of them: {', '.join(several)}")
    raise NotARun(f"{path}: not a submit directory: there is no .dag file in it")


def _own(directory: str) -> str:
    """The DAG that the directory was made for; "" where that cannot be told."""
    for file in ("plan.json", "braindump.yml"):
        try:
            with open(f"{directory}/{file}", encoding="utf-8") as stream:
                name = json.load(stream).get("dag")
        except (OSError, ValueError, AttributeError):
            continue  # Pegasus' own braindump is no JSON; there the only DAG counts
        if isinstance(name, str) and os.path.isfile(f"{directory}/{name}"):
            return f"{directory}/{name}"
    found = _dags(directory)
    return f"{directory}/{found[0]}" if len(found) == 1 else ""


def _dags(directory: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name.endswith(".dag"))
    except OSError as error:
        raise NotARun(f"{directory}: cannot be read: {error.strerror}") from None
