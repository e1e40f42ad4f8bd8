"""Which run is meant: a submit directory, the ``.dag`` in it, and where its database stands."""

# pathlib would cost start-up time
# ruff: noqa: PTH100, PTH112, PTH113, PTH119, PTH120, PTH123

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

DATABASE = "run.db"
_ID = re.compile(r'^\W*wf_uuid"?:\s*"?([\w-]+)', re.M)


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


def by_id(ids: Sequence[str], below: str = ".") -> list[str]:
    """The submit directories ``below`` that runs of these ids have. Raises :class:`NotARun`."""
    known: dict[str, str] = {}
    for at, directories, names in os.walk(below):
        if "braindump.yml" in names:
            directories[:] = [
                name for name in directories if name not in ("jobs", "submit", "records", "logs")
            ]
            with contextlib.suppress(OSError, UnicodeDecodeError), open(f"{at}/braindump.yml") as stream:
                if found := _ID.search(stream.read()):
                    known.setdefault(found[1], at)
    if missing := [id for id in ids if id not in known]:
        raise NotARun(f"no run below {os.path.abspath(below)} has the id {missing[0]}")
    return [known[id] for id in ids]


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
