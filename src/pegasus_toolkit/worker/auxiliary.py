"""Nodes that move, make and remove files by a specification: create-dir, staging, cleanup."""

# pathlib would cost start-up time
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import os
from collections.abc import Sequence

from msgspec.structs import replace

from pegasus_toolkit.integrity.meta import Expected
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.model import Checksum, Operation, Outcome, Transfer
from pegasus_toolkit.transfer.spec.specification import SpecificationError, load
from pegasus_toolkit.worker import moves
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.work import Work

_DIRECTION = {"stage_in": "in", "stage_out": "out", "inter_site": "move"}


def run(work: Work) -> None:
    """All operations of the specification. Raises :class:`Failed`."""
    direction = _DIRECTION.get(work.node.kind, "out")
    work.record.phase = "fetch" if direction == "in" else "push"
    operations = _operations(work)
    catalogued = {one.id for one in operations if isinstance(one, Transfer) and one.checksum is not None}
    operations = [_expecting(work, one) for one in operations if not _left_out(work, one)]
    optional = {one.id for one in operations if getattr(one, "lfn", "") in work.node.checkpoints}
    for outcome in moves.run(work, operations, direction, catalogued, optional):
        if isinstance(outcome.operation, Transfer) and not outcome.member and outcome.error is None:
            _note(work, outcome.operation, outcome)


def _operations(work: Work) -> Sequence[Operation]:
    path = os.path.join(os.path.dirname(work.bundle), work.node.specification)
    try:
        return list(load(path, work.environ))
    except SpecificationError as error:
        raise Failed(f"{path}: {'; '.join(str(error).splitlines())}", EXIT_PERMANENT, "plan") from None
    except TransferError as error:
        raise Failed(
            str(error), EXIT_PERMANENT if error.exit_code == EXIT_PERMANENT else EXIT_RETRY, moves.kind(error)
        ) from None
    except OSError as error:
        raise Failed(f"{path} cannot be read: {error.strerror}", EXIT_PERMANENT, "plan") from None


def _left_out(work: Work, one: Operation) -> bool:
    """A checkpoint that its job did not leave: what is there is the one that it began with."""
    lfn = getattr(one, "lfn", "")
    return lfn in work.node.checkpoints and work.node.verify and work.told(lfn) is None


def _expecting(work: Work, one: Operation) -> Operation:
    """With the digest that nodes before tell, where the specification tells none."""
    if not isinstance(one, Transfer) or one.checksum is not None or not one.lfn:
        return one
    told = work.told(one.lfn)
    if told is None:
        work.record.checks.missing += work.node.verify and work.node.kind != "stage_in"
        return one
    size = told.size if one.size is None else one.size
    return replace(one, checksum=Checksum(told.algorithm, told.digest), size=size)


def _note(work: Work, one: Transfer, outcome: Outcome) -> None:
    destination = outcome.attempts[-1].destination if outcome.attempts else one.destinations[0]
    found = moves.file(one.lfn, outcome)
    found.destinations = (moves.told(destination),)
    work.record.outputs.append(found)
    if work.node.kind == "stage_in":
        work.meta[one.lfn] = Expected(outcome.algorithm, outcome.digest, outcome.size)
