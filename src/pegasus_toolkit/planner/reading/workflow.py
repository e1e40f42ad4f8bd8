"""``workflow.yml``: the abstract workflow, as Pegasus' own API writes it."""

from __future__ import annotations

import shlex
from typing import Any, cast

from pegasus_toolkit.planner.catalogs import Path, words
from pegasus_toolkit.planner.model import Job, JobKind, Link, Use, Workflow
from pegasus_toolkit.planner.reading.reader import Reader, described

WORKFLOW_KEYS = words(
    "pegasus name hooks profiles metadata siteCatalog replicaCatalog transformationCatalog jobs "
    "jobDependencies"
)
_STREAMS = ("stdin", "stdout", "stderr")
_JOB_KEYS = frozenset(
    (
        *words("type namespace version name file id nodeLabel arguments uses profiles metadata hooks"),
        *_STREAMS,
    )
)
_LINKS = ("input", "output", "checkpoint")
_USE_KEYS = frozenset(words("lfn type stageOut registerReplica bypass optional size metadata forPlanning"))
_KINDS = ("job", "pegasusWorkflow", "condorWorkflow")
_QUOTING = frozenset(" \t\"'\\")


def read(reader: Reader, tree: Any) -> Workflow:
    """The workflow; what is wrong goes to the reader's problems."""
    top = reader.mapping(tree, (), WORKFLOW_KEYS)
    reader.text(top, "pegasus", (), required=True)
    found = [_job(reader, item, at) for at, item in enumerate(reader.items(top, "jobs", ()))]
    jobs = [job for job in found if job is not None]
    if not jobs and not reader.problems:
        reader.wrong(("jobs",), "expected at least one job")
    return Workflow(
        name=reader.text(top, "name", (), required=True),
        file=reader.file,
        jobs=tuple(jobs),
        parents=_dependencies(reader, top, {job.id for job in jobs}),
        profiles=reader.profiles(top, ()),
        metadata=reader.table(top, "metadata", ()),
        hooks=reader.hooks(top, ()),
    )


def _job(reader: Reader, item: Any, at: int) -> Job | None:
    path: Path = ("jobs", at)
    owner = reader.mapping(item, path, _JOB_KEYS)
    id = reader.text(owner, "id", path, required=True)
    kind = cast(JobKind, reader.choice(owner, "type", path, _KINDS, "job"))
    if not id:
        return None
    uses = _uses(reader, owner, path)
    file = _lfn(reader, owner, "file", path) if kind != "job" else ""
    streams = [_lfn(reader, owner, key, path, required=False) for key in _STREAMS]
    name = reader.text(owner, "name", path, required=kind == "job")
    uses = _with_streams(uses, streams, file)
    return Job(
        id=id,
        at=at,
        kind=kind,
        transformation=transformation_key(
            reader.text(owner, "namespace", path), name, reader.text(owner, "version", path)
        ),
        name=name or kind,
        label=reader.text(owner, "nodeLabel", path),
        file=file,
        arguments=_arguments(reader, owner, path, uses),
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        uses=tuple(use for use in uses if use.link != "checkpoint") or (),
        checkpoints=tuple(use for use in uses if use.link == "checkpoint") or (),
        profiles=reader.profiles(owner, path),
        metadata=reader.table(owner, "metadata", path),
        hooks=reader.hooks(owner, path),
    )


def transformation_key(namespace: str, name: str, version: str) -> str:
    """``namespace::name:version`` without the parts that are empty."""
    return (f"{namespace}::" if namespace else "") + name + (f":{version}" if version else "")


def _uses(reader: Reader, owner: dict[str, Any], path: Path) -> tuple[Use, ...]:
    found: dict[tuple[str, str], Use] = {}
    for at, item in enumerate(reader.items(owner, "uses", path)):
        here = (*path, "uses", at)
        use = reader.mapping(item, here, _USE_KEYS)
        lfn = _lfn(reader, use, "lfn", here)
        link = reader.text(use, "type", here, required=True)
        if link not in (*_LINKS, ""):
            reader.wrong(
                (*here, "type"), f"expected {', '.join(_LINKS[:-1])} or {_LINKS[-1]}, found {link!r}"
            )
        if link not in _LINKS or not lfn:
            continue
        size = reader.whole(use, "size", here)
        metadata = reader.table(use, "metadata", here)
        if size is None and metadata.get("size", "").isdecimal():
            size = int(metadata["size"])
        made = Use(
            lfn=lfn,
            link=cast(Link, link),
            at=at,
            stage_out=reader.flag(use, "stageOut", here, True),
            register=reader.flag(use, "registerReplica", here, True),
            bypass=reader.flag(use, "bypass", here, False),
            optional=reader.flag(use, "optional", here, False),
            planning=reader.flag(use, "forPlanning", here, False),
            metadata=metadata,
            size=size,
        )
        if found.setdefault((lfn, link), made) is not made:
            reader.wrong((*here, "lfn"), f"the {link} {lfn!r} is there twice")
    # The API writes its set of files in any order, which must not change the plan.
    return tuple(found[key] for key in sorted(found))


def _lfn(reader: Reader, owner: dict[str, Any], key: str, path: Path, required: bool = True) -> str:
    """A logical name that is a path below the job's directory."""
    lfn = reader.text(owner, key, path, required)
    if len(lfn) > 63 and max(len(part.encode()) for part in lfn.split("/")) > 255:
        reader.wrong((*path, key), f"no file can have a name of more than 255 bytes: {lfn[:60]!r}...")
        return ""
    if ("/" in lfn or lfn in (".", "..")) and not {"", ".", ".."}.isdisjoint(lfn.split("/")):
        reader.wrong((*path, key), f"expected a name below the job's directory, found {lfn!r}")
        return ""
    return lfn


def _with_streams(uses: tuple[Use, ...], streams: list[str], file: str) -> tuple[Use, ...]:
    """Files that a job reads and writes as its streams count as its files, also where not declared."""
    missing: list[Use] = []
    for lfn, link in ((streams[0], "input"), (streams[1], "output"), (streams[2], "output"), (file, "input")):
        if lfn and not any(use.lfn == lfn and use.link == link for use in (*uses, *missing)):
            missing.append(Use(lfn=lfn, link=cast(Link, link), at=-1))
    return (*uses, *missing)


def _arguments(reader: Reader, owner: dict[str, Any], path: Path, uses: tuple[Use, ...]) -> tuple[str, ...]:
    """Their words. One with spaces or quotes is split as a shell would, unless it names a file."""
    words: list[str] = []
    for at, item in enumerate(reader.items(owner, "arguments", path)):
        if not isinstance(item, str):
            reader.wrong((*path, "arguments", at), f"expected text, found {described(item)}")
        elif _QUOTING.isdisjoint(item) or any(use.lfn == item for use in uses):
            words.append(item)
        elif "\0" in item:
            reader.wrong((*path, "arguments", at), "expected text without NUL")
        else:
            try:
                words.extend(shlex.split(item))
            except ValueError as error:
                reader.wrong((*path, "arguments", at), f"{str(error).lower()} in {item!r}")
    return tuple(words)


def _dependencies(reader: Reader, top: dict[str, Any], ids: set[str]) -> dict[str, tuple[str, ...]]:
    parents: dict[str, dict[str, None]] = {}
    for at, item in enumerate(reader.items(top, "jobDependencies", ())):
        path: Path = ("jobDependencies", at)
        owner = reader.mapping(item, path, ("id", "children"))
        parent = reader.text(owner, "id", path, required=True)
        if parent and parent not in ids:
            reader.wrong((*path, "id"), f"no job has the id {parent!r}")
        for n, child in enumerate(reader.items(owner, "children", path)):
            if not isinstance(child, str) or child not in ids:
                reader.wrong((*path, "children", n), f"no job has the id {child!r}")
            else:
                parents.setdefault(child, {})[parent] = None
    return {child: tuple(found) for child, found in parents.items()}
