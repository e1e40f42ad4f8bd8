"""The last node: what the whole run has made, from the records of all nodes; honest about what is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.worker.failure import EXIT_RETRY, Failed
from pegasus_toolkit.worker.record import VERSION, Checks, FileRecord, Record
from pegasus_toolkit.worker.work import Work


class _Told(NamedTuple):
    """Who tells of a file, and what."""

    node: str
    file: FileRecord


class _Totals:
    """What all records say together."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.nodes: Counter[str] = Counter()
        self.sums: Counter[str] = Counter()
        self.checks = Checks()
        self.failed: list[str] = []
        self.made: dict[str, _Told] = {}
        self.put: dict[str, dict[str, _Told]] = {lfn: {} for lfn in wanted}

    def add(self, seen: Record) -> None:
        self.nodes[seen.kind] += 1
        self.sums.update(tasks=len(seen.tasks), bytes_in=seen.bytes_in, bytes_out=seen.bytes_out)
        self.checks.made += seen.checks.made
        self.checks.failed += seen.checks.failed
        self.checks.missing += seen.checks.missing
        if seen.exit:
            self.failed.append(seen.node)
            return
        for file in seen.outputs:
            if file.lfn in self.put:
                told = _Told(seen.node, file)
                if seen.kind == "compute":
                    self.made[file.lfn] = told
                self.put[file.lfn].update(dict.fromkeys(file.destinations, told))


def run(work: Work) -> None:
    """Writes the receipt. Raises :class:`Failed` unless all outputs are where they should be."""
    work.record.phase = "check"
    wanted: dict[str, list[str]] = {}
    for one in work.node.registrations:
        wanted.setdefault(one.lfn, []).append(redact.url(one.pfn.url))
    totals = _Totals(wanted)
    for seen in _records(work):
        totals.add(seen)
    outputs = [_output(lfn, places, totals) for lfn, places in wanted.items()]
    missing = [str(one["lfn"]) for one in outputs if one["missing"]]
    work.record.checks = totals.checks
    work.record.receipt = {
        "nodes": dict(totals.nodes),
        **totals.sums,
        "failed": sorted(totals.failed),
        "outputs": outputs,
        "missing": missing,
    }
    _conclude(missing, totals.failed)


def _conclude(missing: list[str], failed: list[str]) -> None:
    if missing:
        some = ", ".join(map(repr, missing[:5])) + (" ..." if len(missing) > 5 else "")
        raise Failed(f"{len(missing)} outputs are not where they should be: {some}", EXIT_RETRY, "incomplete")
    if failed:
        some = ", ".join(failed[:5]) + (" ..." if len(failed) > 5 else "")
        raise Failed(f"{len(failed)} nodes failed: {some}", EXIT_RETRY, "incomplete")


def _output(lfn: str, places: list[str], totals: _Totals) -> dict[str, object]:
    """One output: what it is, who made it, where it was brought by whom, and where it was not."""
    put = totals.put[lfn]
    made = totals.made.get(lfn)
    known = made or next(iter(put.values()), None)
    found: dict[str, object] = {"lfn": lfn}
    if known is not None:
        file = known.file
        found |= {"size": file.size, "algorithm": file.algorithm, "digest": file.digest}
    if made is not None:
        found["made_by"] = made.node
    found["places"] = [{"url": url, "brought_by": put[url].node} for url in places if url in put]
    found["missing"] = [url for url in places if url not in put]
    return found


def _records(work: Work) -> Iterator[Record]:
    """All records of this run beside this one's; what is no record is left out."""
    decode = msgspec.json.Decoder(Record).decode
    with os.scandir(work.start) as entries:
        names = sorted(entry.name for entry in entries if entry.name.endswith(".json"))
    for name in names:
        if name != f"{work.node.node}.json":
            try:
                seen = decode(regular.read(f"{work.start}/{name}"))
            except (OSError, msgspec.DecodeError):
                continue
            if seen.version == VERSION and seen.run == work.node.run:
                yield seen
