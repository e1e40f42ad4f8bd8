"""The files of a sharded specification's submit directory; like a workflow's, but for what shards add."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from pegasus_toolkit.planner.model import Dag, NodeFile
from pegasus_toolkit.planner.writing import directory, jobs
from pegasus_toolkit.planner.writing.dag import config, render
from pegasus_toolkit.planner.writing.submit import submits

RECEIPT = "transfer_receipt"  # the kind of the node that adds all up


def files(
    dag: Dag, name: str, specifications: Mapping[str, Iterable[bytes]], facts: Mapping[str, object]
) -> Iterator[tuple[str, directory.Content]]:
    """Each file by its path. ``specifications``: of each node; ``facts``: what ``plan.json`` says beside."""
    bundle_of: dict[str, str] = {}
    for bundle in jobs.bundles(dag):
        bundle_of.update(dict.fromkeys(bundle.nodes, bundle.name))
        content = _receipt(bundle.content) if jobs.FINAL in bundle.nodes else bundle.content
        yield f"jobs/{bundle.name}", content
    for node, specification in specifications.items():
        yield f"jobs/{jobs.specification_file(node)}", specification
        yield f"records/{node}.journal", b""  # HTCondor brings it in from the first attempt on
    made = submits(dag, name, bundle_of)
    for file, text in made.files.items():
        yield f"submit/{file}", text.encode()
    yield f"{name}.dag", render(dag, made).encode()
    yield "dagman.config", config(dag).encode()
    yield "braindump.yml", directory.braindump(dag, name)
    yield "plan.json", msgspec.json.encode({**directory.facts(dag, name), **facts}) + b"\n"


def _receipt(line: bytes) -> bytes:
    told = msgspec.json.decode(line, type=NodeFile)
    return msgspec.json.encode(replace(told, kind=RECEIPT)) + b"\n"
