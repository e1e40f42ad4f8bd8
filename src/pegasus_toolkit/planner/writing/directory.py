"""The submit directory: all of it or nothing."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from pegasus_toolkit.planner.model import Dag, Metadata, PlanError, Problem
from pegasus_toolkit.planner.writing import jobs
from pegasus_toolkit.planner.writing.dag import HOOKS, config, render
from pegasus_toolkit.planner.writing.specifications import specification
from pegasus_toolkit.planner.writing.submit import submits

# DAGMan splits lines at spaces, HTCondor its lists at commas, and neither can be told otherwise everywhere.
_PLAIN = re.compile(r"[^\s,;=\"'\\$%#@]+")


Content = bytes | Iterable[bytes]


def write(dag: Dag, name: str, contents: Iterable[tuple[str, Content]] | None = None) -> str:
    """Makes the submit directory, with ``name``.dag in it, and gives the DAG's path.

    ``contents``: what to write in place of ``files(dag, name)``.
    It is written aside and renamed, so that it is there as a whole or not at all. Raises
    :class:`PlanError` where it cannot be: it is there, or its path is not for DAGMan.
    """
    target = Path(dag.settings.submit)
    problems = list(_problems(dag, target, name))
    if problems:
        raise PlanError(problems)
    aside = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent)
        Path(aside).chmod(0o755 & ~_umask())
        for directory in ("submit", "jobs", "records", "logs"):
            # URLs in specifications may be signed, and variables of jobs be secret.
            Path(aside, directory).mkdir(mode=0o700 if directory == "jobs" else 0o777)
        for path, content in files(dag, name) if contents is None else contents:
            opener = _closed if path.startswith("jobs/") else None
            with open(Path(aside, path), "wb", opener=opener) as file:
                file.writelines((content,) if isinstance(content, bytes) else content)
            if path == jobs.WORKER:
                Path(aside, path).chmod(0o777 & ~_umask())
        os.rename(aside, target)  # noqa: PTH104  onto an empty directory, but onto no other
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise PlanError([Problem(str(target), (), message)]) from None
    finally:
        if aside:
            shutil.rmtree(aside, ignore_errors=True)  # gone where it was renamed
    return f"{target}/{name}.dag"


def _problems(dag: Dag, target: Path, name: str) -> Iterator[Problem]:
    settings = dag.settings
    for path in (str(target), settings.worker, *settings.workers.values(), settings.planner, name):
        if not _PLAIN.fullmatch(path):
            message = "a path in a DAG cannot hold spaces or any of , ; = \" ' \\ $ % # @"
            yield Problem(path, (), message)
    there = os.path.exists(target)  # noqa: PTH110  False for what can be no path
    if there and (not target.is_dir() or any(target.iterdir())):
        yield Problem(str(target), (), "is there already", hint="choose another with --relative-dir")


def _closed(path: str, flags: int) -> int:
    """Opens what others must not read: the directory's own mode does not go with a copy of it."""
    return os.open(path, flags, 0o600)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def files(dag: Dag, name: str) -> Iterator[tuple[str, bytes]]:
    """Each file of the submit directory, by its path in there."""
    bundle_of: dict[str, str] = {}
    for bundle in jobs.bundles(dag):
        bundle_of.update(dict.fromkeys(bundle.nodes, bundle.name))
        yield f"jobs/{bundle.name}", bundle.content
    for node in dag.nodes:
        if node.operations:
            yield f"jobs/{jobs.specification_file(node.name)}", specification(node)
        if node.kind == "compute" and node.checkpoints:
            yield f"records/{node.name}.checkpoint", b""  # HTCondor brings it in from the first attempt on
        if node.subdag is not None and node.subdag.plan:
            yield f"jobs/{node.name}.args", "\n".join((*node.subdag.plan[1:], "")).encode()
            yield f"jobs/{node.name}.above.json", msgspec.json.encode(node.subdag.above)
    made = submits(dag, name, bundle_of)
    for file, text in made.files.items():
        yield f"submit/{file}", text.encode()
    yield f"{name}.dag", render(dag, made).encode()
    hooks = {node.name: node.hooks for node in dag.nodes if node.hooks}
    if dag.workflow.hooks or hooks:
        yield f"jobs/{HOOKS}", msgspec.json.encode({"": dag.workflow.hooks, **hooks})
    yield "dagman.config", config(dag).encode()
    yield "braindump.yml", braindump(dag, name)
    yield "plan.json", msgspec.json.encode(facts(dag, name)) + b"\n"
    if dag.metadata != Metadata():
        yield "metadata.json", msgspec.json.encode(dag.metadata) + b"\n"
    yield "pegasus.properties", _properties(dag)


def _properties(dag: Dag) -> bytes:
    """The properties as they counted, for sub-workflows and for the record."""
    lines = [f"{key} = {value}" for key, value in dag.settings.properties.items()]
    return "\n".join((*lines, "")).replace("\\", "\\\\").encode()


def braindump(dag: Dag, name: str) -> bytes:
    """What Pegasus' own API and commands look up, with their keys alone; in JSON, which is YAML."""
    settings = dag.settings
    known = {
        "user": settings.environ.get("USER", ""),
        "root_wf_uuid": settings.root,
        "wf_uuid": settings.run,
        "dax": dag.workflow.file,
        "dax_label": dag.workflow.name,
        "pegasus_wf_name": name,
        "basedir": str(Path(settings.submit).parent),
        "submit_dir": settings.submit,
        "planner": "pegasus-plan",
        "properties": "pegasus.properties",
        "condor_log": "workflow.log",
        "dag": f"{name}.dag",
        "type": "dag",
    }
    return msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n"


def facts(dag: Dag, name: str) -> dict[str, object]:
    """What the plan is, for programs of ours."""
    settings = dag.settings
    return {
        "version": jobs.VERSION,
        "workflow": dag.workflow.name,
        "run": settings.run,
        "dag": f"{name}.dag",
        "configuration": settings.configuration,
        "catalog": jobs.catalog(dag),
        "workers": tuple(dict.fromkeys((settings.worker, *settings.workers.values()))),
        "nodes": Counter(node.kind for node in dag.nodes),
        "tasks": sum(len(node.tasks) for node in dag.nodes),
        "reused": dag.reused,
        "outputs": dag.outputs,
        "warnings": dag.warnings,
    }
