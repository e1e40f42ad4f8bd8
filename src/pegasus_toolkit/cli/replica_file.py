"""A replica catalog in YAML as the commands read and write it: its entries as they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Wrong(Exception):
    """``lines``: what is wrong with the catalog, a line each."""

    def __init__(self, lines: Iterable[str]) -> None:
        super().__init__()
        self.lines = list(lines)


def read(path: str, environ: Mapping[str, str]) -> list[Entry]:
    """The entries; none where there is no such file and it is to be made. Raises :class:`Wrong`."""
    from pegasus_toolkit.planner.reading import document, replicas
    from pegasus_toolkit.planner.reading.reader import Reader

    try:
        parsed = document.parse(path, Path(path).read_bytes().decode())
    except OSError as error:
        raise Wrong([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise Wrong([f"{path}: expected UTF-8, found the byte 0x{error.object[error.start]:02x}"]) from None
    except document.Broken as error:
        line = f":{error.line}" if error.line else ""
        raise Wrong([f"{path}{line}: {error.message}"]) from None
    reader = Reader(path, environ, str(Path(path).parent.absolute()))
    replicas.read(reader, parsed.tree)
    if reader.problems:
        raise Wrong(map(str, document.located(reader.problems, Path(path).read_text("utf-8"))))
    return list(parsed.tree.get("replicas") or [])


def metadata(entry: Entry) -> dict[str, str]:
    """What an entry says of its file; ``size`` and digest among it."""
    found = {key: str(value) for key, value in (entry.get("metadata") or {}).items()}
    for kind, value in (entry.get("checksum") or {}).items():
        found |= {"checksum.type": kind, "checksum.value": str(value)}
    return found


def write(path: str, entries: Iterable[Entry]) -> None:
    """The catalog with these entries alone, whole or not at all. Raises :class:`Wrong`."""
    from pegasus_toolkit.worker import registration

    try:
        registration.replace(path, entries)
    except OSError as error:
        raise Wrong([f"{path}: cannot be written: {error.strerror}"]) from None
