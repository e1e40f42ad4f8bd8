"""``pegasus-transfer --submit --shards N``: a large specification as a DAG of shards, planned and run."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pegasus_toolkit.cli import plan_settings, plan_worker
from pegasus_toolkit.cli.console import Console
from pegasus_toolkit.cli.options import Arguments
from pegasus_toolkit.cli.outputs import Refused
from pegasus_toolkit.cli.shards_progress import Followed
from pegasus_toolkit.planner import shards as planning
from pegasus_toolkit.planner.model import PlanError, Settings, Workflow
from pegasus_toolkit.planner.shards import Shard
from pegasus_toolkit.planner.shards_write import files
from pegasus_toolkit.planner.writing import directory
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.errors import TransferError

SHARDS = 8
_INTERRUPTED = 130
LEFT = "left.json"  # what is left to do, in the submit directory


def submit(arguments: Arguments, environ: Mapping[str, str], console: Console) -> int:
    """Plans, unless the submit directory holds just this specification already, and runs it.

    The exit code is the run's, as ``pegasus-transfer`` has them. Raises ``Refused``.
    """
    data = _data(arguments.file)
    digest = _digest(data)
    stem = "transfer" if arguments.file == "-" else plan_settings.plain(Path(arguments.file).stem)
    target = arguments.directory or _free(stem)
    target = os.path.abspath(target)  # noqa: PTH100  symbolic links stay what they are
    known = _planned(target)
    if known.get("specification", {}).get("sha256") == digest:
        console.info(f"{target} holds this specification already: going on with it")
    elif Path(target).exists() and any(Path(target).iterdir()):
        raise Refused(f"{target} is there already, and not of this specification; choose another with --dir")
    else:
        try:
            _plan(data, digest, arguments, target, environ=environ, console=console)
        except PlanError as error:
            raise Refused("\n".join(map(str, error.problems))) from None
    del data  # it may be large, and is in the shards now
    print(target, flush=True)
    if not arguments.submit:
        console.info(f"to run it: pegasus-run {target}")
        return 0
    return _run(target, arguments, console)


def _data(file: str) -> bytes:
    from pegasus_toolkit.transfer.spec import json as spec_json

    try:
        return spec_json.fetch(sys.stdin.buffer if file == "-" else file)
    except TransferError as error:
        raise Refused(f"cannot read {file}: {error}") from error


def _digest(data: bytes) -> str:
    from hashlib import sha256

    return sha256(data).hexdigest()


def _free(stem: str) -> str:
    """``STEM-run0001`` in the working directory, with the next number that is free."""
    numbers = [
        int(found[1])
        for one in Path().iterdir()
        if (found := re.fullmatch(rf"{re.escape(stem)}-run(\d+)", one.name))
    ]
    return f"{stem}-run{max(numbers, default=0) + 1:04d}"


def _planned(target: str) -> dict[str, Any]:
    """What ``plan.json`` says; nothing where there is none."""
    try:
        known = json.loads(Path(target, "plan.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _plan(
    data: bytes,
    digest: str,
    arguments: Arguments,
    target: str,
    *,
    environ: Mapping[str, str],
    console: Console,
) -> None:
    from pegasus_toolkit.cli.shards_entries import Cut
    from pegasus_toolkit.transfer.spec.specification import SpecificationError, load

    name = "standard input" if arguments.file == "-" else arguments.file
    try:
        operations = load(data, environ)
    except (SpecificationError, TransferError) as error:
        raise Refused("\n".join(f"{name}: {line}" for line in str(error).splitlines())) from error
    for warning in operations.warnings:
        console.warning(warning)
    if not len(operations):
        raise Refused(f"{name}: nothing to do")
    alone = arguments.submit and _alone(arguments.engine, target, environ)
    cut = Cut(operations, os.getcwd(), shared=arguments.shared, alone=alone)  # noqa: PTH109
    shards = planning.divide(cut.entries, arguments.shards or SHARDS)
    settings = _settings(arguments, target, environ)
    workflow = Workflow(name=plan_settings.plain(Path(target).name), file=name, jobs=())
    dag = planning.plan(shards, cut.entries, settings, workflow, threads=arguments.threads)
    worker = os.path.abspath(arguments.worker) if arguments.worker else ""  # noqa: PTH100
    dag, packed = plan_worker.give(dag, worker, planning.CATALOGS, environ)
    specifications = {shard.name: cut.raw(shard.positions) for shard in shards}
    facts = {
        "specification": {
            "file": name,
            "sha256": digest,
            "entries": len(operations),
            "bytes": cut.size,
            "shards": {shard.name: len(shard.positions) for shard in shards},
        }
    }
    directory.write(dag, "transfer", chain(files(dag, "transfer", specifications, facts), packed))
    Path(target, "jobs").chmod(0o700)  # URLs may hold secrets
    _tell(shards, 0 if alone else cut.here, console)


def _alone(engine: str, target: str, environ: Mapping[str, str]) -> bool:
    """Whether this machine does all: then no worker has to be packed, and nothing be carried."""
    from pegasus_toolkit.engines.choose import choose
    from pegasus_toolkit.engines.htcondor.schedd import NoPool

    try:
        return choose(engine or "auto", f"{target}/transfer.dag", environ).schedd is None
    except NoPool as error:
        raise Refused(str(error)) from None


def _settings(arguments: Arguments, target: str, environ: Mapping[str, str]) -> Settings:
    run = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    return Settings(
        configuration="nonsharedfs",
        submit=target,
        run=run,
        scratch="",
        sites=(planning.POOL,),
        integrity=bool(arguments.digest),
        environ={"UID": str(os.getuid()), **environ},
        secret=plan_settings.secret,
        section=plan_settings.sections(environ),
        worker=plan_settings.beside("pegasus-worker"),
    )


def _tell(shards: Sequence[Shard], here: int, console: Console) -> None:
    for step in planning.STEPS:
        mine = [shard for shard in shards if shard.step == step]
        if mine:
            counts = [len(shard.positions) for shard in mine]
            each = f"{min(counts)} to {max(counts)} entries each" if len(mine) > 1 else "all in one"
            console.info(f"{step}: {sum(counts)} entries, {len(mine)} nodes, {each}")
    if here:
        console.info(
            f"{here} entries name files of this machine, so they are done here; where all machines of "
            "the pool have its file system, say --shared-filesystem"
        )


def _run(target: str, arguments: Arguments, console: Console) -> int:
    from pegasus_toolkit.cli import workflow_run

    began = time.time()
    known = _planned(target).get("specification", {})
    followed = Followed(target, known.get("shards", {}), known.get("bytes"))
    code = workflow_run.run(
        workflow_run.Wanted(
            target,
            f"{target}/transfer.dag",
            console,
            engine=arguments.engine or "auto",
            wait=True,
            beside=followed.line,
        )
    )
    if code == _INTERRUPTED:  # told already; the run goes on
        return code
    receipt = _receipt(target)
    if receipt is None or (code and receipt["started"] < began - 1):
        console.critical(f"the run did not come to its end; the same command goes on with it: {target}")
        return code and 1
    told = Counter({key: n for key, n in receipt.get("receipt", {}).items() if isinstance(n, int)})
    moved = f"{told['files']} files, {units.binary(told['bytes'])}B, {told['digests']} digests taken"
    console.info(f"{told['transfers']} transfers done: {moved}, {told['verified']} verified")
    if arguments.failed:
        _copy(Path(target, LEFT), arguments.failed)
    if code:
        console.critical(receipt.get("error") or "the run failed")
        return int(receipt["exit"]) or 1
    return 0


def _receipt(target: str) -> dict[str, Any] | None:
    try:
        found = json.loads(Path(target, "records", "receipt.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "started" in found else None


def _copy(source: Path, destination: str) -> None:
    """Replaces it; readable by its owner alone, as URLs may hold secrets. Raises ``Refused``."""
    from pegasus_toolkit.integrity import regular

    try:
        regular.replace(destination, source.read_bytes(), 0o600)
    except OSError as error:
        raise Refused(f"cannot write {destination!r}: {error.strerror}") from error
