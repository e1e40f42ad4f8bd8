"""Register nodes: files that were staged out are entered into a replica catalog."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from pegasus_toolkit.integrity import regular
from pegasus_toolkit.integrity.meta import Expected
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, EXIT_RETRY, Failed
from pegasus_toolkit.worker.record import FileRecord, Record
from pegasus_toolkit.worker.work import Work

_HEAD = b'pegasus: "5.0"\nreplicas:\n'
_START = b'- {"lfn":'


def run(work: Work) -> None:
    """Enters all of the node's files, or none. Raises :class:`Failed`."""
    work.record.phase = "push"
    entries: dict[str, dict[str, Any]] = {}
    made = _made(work)
    for one in work.node.registrations:
        if one.lfn in work.node.checkpoints and one.lfn not in made:
            continue  # its job did not leave one
        told = work.told(one.lfn)
        work.record.checks.missing += told is None and work.node.verify
        runtime = made.get(one.lfn, {})
        entry = entries.setdefault(one.lfn, _entry(one.lfn, told, {**runtime, **one.metadata}))
        entry["pfns"].append({"site": one.pfn.site, "pfn": one.pfn.url})
        work.record.outputs.append(_file(one.lfn, told))
    try:
        with locked(work.node.catalog):
            merge(work.node.catalog, entries)
    except OSError as error:
        raise Failed(
            f"the catalog {work.node.catalog}: {error.strerror or error}", EXIT_RETRY, "machine"
        ) from None


def _made(work: Work) -> dict[str, dict[str, str]]:
    """By LFN: what the makers' records tell of when, where, by whom and how it was made."""
    decode = msgspec.json.Decoder(Record).decode
    found: dict[str, dict[str, str]] = {}
    for name in work.node.metas:
        try:
            seen = decode(regular.read(f"{work.start}/{name}.json"))
        except (OSError, msgspec.DecodeError):
            continue  # it is metadata that is missing then, no file
        told = {
            "ctime": datetime.fromtimestamp(seen.started + seen.seconds)
            .astimezone()
            .isoformat(timespec="seconds"),
            "seconds": f"{seen.seconds:.3f}",
            "exit": str(seen.exit),
            **{key: getattr(seen, key) for key in ("user", "host", "site") if getattr(seen, key)},
            "made_by": name,
        }
        found.update((file.lfn, told) for file in seen.outputs)
    return found


def _entry(lfn: str, told: Expected | None, metadata: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"lfn": lfn, "pfns": []}
    if metadata:
        entry["metadata"] = dict(metadata)
    if told is not None and told.algorithm == "sha256":
        entry["checksum"] = {"sha256": told.digest}
    if told is not None and told.size is not None:
        entry["metadata"] = {**metadata, "size": str(told.size)}
    return entry


def _file(lfn: str, told: Expected | None) -> FileRecord:
    if told is None:
        return FileRecord(lfn=lfn)
    return FileRecord(lfn=lfn, size=told.size, algorithm=told.algorithm, digest=told.digest)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """One writer at a time; the lock is a file of its own, as the catalog is replaced."""
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def merge(path: str, entries: dict[str, dict[str, Any]]) -> None:
    """The catalog with these entries, whole or not at all.

    What it says of other files stays as it is. Of these files other places stay, and one that is there
    already is replaced. Entries are a line each, as JSON, which is YAML: so nearly all of a catalog that
    was written here passes unread. Raises ``OSError``; :class:`Failed` for what is no replica catalog.
    """
    try:
        content = regular.read(path)
    except FileNotFoundError:
        content = b""
    lines = _ours(content)
    if lines is None:
        lines = _foreign(path, content)
    kept: list[bytes] = []
    for line in lines:
        lfn = _lfn(line)
        if lfn in entries:
            entries[lfn] = _joined(msgspec.json.decode(line[2:]), entries[lfn])
        else:
            kept.append(line)
    kept += _written(entries.values())
    regular.replace(path, _HEAD + b"\n".join((*kept, b"")))


def replace(path: str, entries: Iterable[Mapping[str, Any]]) -> None:
    """The catalog with these entries alone, whole or not at all. Raises ``OSError``."""
    regular.replace(path, _HEAD + b"\n".join((*_written(entries), b"")))


def _written(entries: Iterable[Any]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for entry in entries:
        yield b"- " + encode({"lfn": entry["lfn"], **entry})


def _lfn(line: bytes) -> str:
    """The LFN of one of our lines, without reading the rest of it."""
    at = len(_START) + 1
    end = line.index(b'"', at)
    name = line[at:end]
    if b"\\" in name:
        return str(msgspec.json.decode(line[2:])["lfn"])
    return name.decode()


def _ours(content: bytes) -> list[bytes] | None:
    """The entries of a catalog that was written here; ``None`` for any other."""
    if not content.startswith(_HEAD):
        return None if content.strip() else []
    lines = content[len(_HEAD) :].split(b"\n")
    if lines.pop() or not all(line.startswith(_START) for line in lines):
        return None
    return lines


def _foreign(path: str, content: bytes) -> list[bytes]:
    """The entries of a catalog that others wrote, as lines of ours."""
    try:
        import yaml
    except ModuleNotFoundError:
        text = f"the catalog {path} was not written here, and reading it needs PyYAML, which is not installed"
        raise Failed(text, EXIT_PERMANENT) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        tree = yaml.load(content, loader)
    except yaml.YAMLError as error:
        raise Failed(
            f"the catalog {path} is not YAML: {' '.join(str(error).split())}", EXIT_PERMANENT
        ) from None
    entries = (tree.get("replicas") or []) if isinstance(tree, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "lfn" in one for one in entries):
        raise Failed(f"{path} is not a replica catalog", EXIT_PERMANENT)
    return list(_written(entries))


def _joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Places that only the old entry has stay; all else is as the new one tells it."""
    fresh = [(one["site"], one["pfn"]) for one in new["pfns"]]
    kept = [one for one in old.get("pfns", []) if (one.get("site"), one.get("pfn")) not in fresh]
    metadata = {**old.get("metadata", {}), **new.get("metadata", {})}
    old.pop("checksum", None)  # if nobody knows the new file's, then not the old one's
    joined = {**old, **new, "pfns": [*kept, *new["pfns"]]}
    return {**joined, "metadata": metadata} if metadata else joined
