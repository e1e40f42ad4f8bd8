"""Operations and outcomes for tests of what observes a run."""

from __future__ import annotations

from pathlib import Path

from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Endpoint
from pegasus_toolkit.transfer.model import Attempt, Location, Mkdir, Operation, Outcome, Transfer
from tests.material import sha256


def local(path: Path | str, site: str = "local") -> Location:
    return Location(f"file://{path}", Endpoint("file", "", site), str(path))


def web(url: str, site: str = "web") -> Location:
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return Location(url, Endpoint(scheme, host, site), slash + path)


def transfer(source: Location, destination: Location, id: int = 0, **options: object) -> Transfer:
    return Transfer(id=id, sources=(source,), destinations=(destination,), **options)  # type: ignore[arg-type]


def make_directory(path: Path, id: int = 0) -> Mkdir:
    return Mkdir(id=id, target=local(path))


def attempt(
    operation: Operation, size: int = 0, error: TransferError | None = None, started: float = 1000.0
) -> Attempt:
    if isinstance(operation, Transfer):
        return Attempt(operation.sources[0], operation.destinations[0], "direct", started, 0.5, size, error)
    return Attempt(None, operation.target, "mkdir", started, 0.5, 0, error)


def done(operation: Operation, content: bytes = b"", **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "operation": operation,
        "status": "done",
        "size": len(content),
        "algorithm": "sha256",
        "digest": sha256(content),
        "route": "direct",
        "attempts": (attempt(operation, len(content)),),
    }
    return Outcome(**(fields | changes))  # type: ignore[arg-type]


def failed(operation: Operation, error: TransferError, **changes: object) -> Outcome:
    fields: dict[str, object] = {
        "operation": operation,
        "status": "failed",
        "route": "direct",
        "attempts": (attempt(operation, error=error),),
        "error": error,
    }
    return Outcome(**(fields | changes))  # type: ignore[arg-type]
