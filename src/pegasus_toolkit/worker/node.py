"""One node from beginning to end: whatever happens, its record and its ``.meta`` file are left."""

# pathlib would cost start-up time
# ruff: noqa: PTH119

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Mapping
from importlib import import_module

from pegasus_toolkit.integrity import meta
from pegasus_toolkit.records import Failure
from pegasus_toolkit.worker import bundle, record
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.stopping import Stopping
from pegasus_toolkit.worker.work import Work

_KINDS = {
    "compute": "compute",
    **dict.fromkeys(("create_dir", "stage_in", "inter_site", "stage_out", "cleanup"), "auxiliary"),
    "transfer": "shard",
    "transfer_receipt": "shards",
    "register": "registration",
    "final": "receipt",
}


def run(
    path: str, name: str, start: str, environ: Mapping[str, str], stop: Stopping, *, shared: bool = False
) -> record.Record:
    """Does the node's work; the record as it was written.

    ``start``: the directory of the record, absolute: that the worker was started in, or where other jobs
    leave theirs, too (``shared``). Raises ``OSError`` where the record
    cannot be written, :class:`Failed` for a node's name that can be no file's.
    """
    if "/" in name or name in ("", ".", ".."):
        raise Failed(f"{name!r} is not the name of a node", EXIT_PERMANENT, "plan")
    told = record.new(name, environ)
    began = time.monotonic()
    _leave(start, told, {})  # what others find if this process is killed
    told.error, told.failure = "", ""
    work: Work | None = None
    try:
        work = Work(
            bundle.read(path, name),
            start=start,
            shared=shared,
            bundle=path,
            environ=environ,
            record=told,
            stop=stop,
        )
        _introduce(work)
        _worker(work.node.kind)(work)
        stop.check()
        told.exit = 0
    except Failed as failure:
        told.exit, told.error, told.failure = failure.exit, str(failure), failure.kind
    except OSError as error:
        told.exit, told.error, told.failure = _oserror(error)
    except Exception as error:  # noqa: BLE001  the last resort: a node without a record tells nobody anything
        told.exit, told.error, told.failure = EXIT_RETRY, _defect(error), "defect"
    stop.hold()
    told.seconds = round(time.monotonic() - began, 6)
    _leave(start, told, work.meta if work is not None else {})
    return told


def _introduce(work: Work) -> None:
    node, told = work.node, work.record
    told.kind, told.workflow, told.run, told.site = node.kind, node.workflow, node.run, node.site


def _worker(kind: str) -> Callable[[Work], None]:
    """Imported only now, since each kind needs other modules."""
    if kind not in _KINDS:
        raise Failed(f"no nodes of the kind {kind!r} are known here", EXIT_PERMANENT, "plan")
    found: Callable[[Work], None] = import_module(f"pegasus_toolkit.worker.{_KINDS[kind]}").run
    return found


def _leave(start: str, told: record.Record, files: Mapping[str, meta.Expected]) -> None:
    meta.write(f"{start}/{told.node}.meta", files)
    record.write(f"{start}/{told.node}.json", told)


def _oserror(error: OSError) -> tuple[int, str, Failure]:
    """Of what the machine did, a full disk or a missing right, most may pass, here or on another machine."""
    name = f": {error.filename}" if error.filename is not None else ""
    kind: Failure = "no space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "machine"
    return EXIT_RETRY, f"{error.strerror or type(error).__name__}{name}", kind


def _defect(error: Exception) -> str:
    import sys
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    return (
        f"{type(error).__name__} in {where}; this is a defect: please report it, with the job's error output"
    )
