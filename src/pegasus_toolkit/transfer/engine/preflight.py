"""Before anything moves: which endpoints answer, with which credential, and how much room they have."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from msgspec import Struct

from pegasus_toolkit.credentials import tokens
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import Denied, NotFound, TransferError, from_oserror
from pegasus_toolkit.transfer.interface import (
    Backend,
    Endpoint,
    Identified,
    Identity,
    ReportsFreeSpace,
    TellsRights,
)
from pegasus_toolkit.transfer.model import Location, Mkdir, Operation, Remove, Transfer

AT_ONCE = 16  # endpoints asked at the same time
SOON = 3600.0  # seconds: a credential that ends so soon may not last for the run


class Use(Struct):
    """What a specification wants of one endpoint."""

    endpoint: Endpoint
    reads: int = 0
    writes: int = 0
    source: str = ""  # path of one file to read
    target: str = ""  # path of one file to write or remove


class Finding(Struct, frozen=True, kw_only=True):
    """What was found out of one endpoint; ``warnings``: a line each; ``seconds``: until it answered."""

    use: Use
    identity: Identity | None = None
    free: int | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    error: TransferError | None = None


def uses(operations: Iterable[Operation]) -> dict[Endpoint, Use]:
    """Every endpoint of a specification, in the order in which they appear."""
    found: dict[Endpoint, Use] = {}

    def use(location: Location) -> Use:
        return found.setdefault(location.endpoint, Use(location.endpoint))

    for operation in operations:
        if isinstance(operation, Transfer):
            for source in operation.sources:
                place = use(source)
                place.reads += 1
                place.source = place.source or source.path
            for destination in operation.destinations:
                _written(use(destination), destination.path)
        elif isinstance(operation, (Mkdir, Remove)):
            _written(use(operation.target), operation.target.path)
    return found


def _written(place: Use, path: str) -> None:
    place.writes += 1
    place.target = place.target or path


def check(operations: Iterable[Operation], pool: Pool) -> Iterator[Finding]:
    """Asks each endpoint once, several at a time; findings in the order of the specification."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(lambda use: examine(use, pool), uses(operations).values())


def examine(use: Use, pool: Pool) -> Finding:
    """Asks one endpoint."""
    began = time.monotonic()
    identity = free = error = None
    warnings: list[str] = []
    try:
        backend = pool.lend(use.endpoint, 1)
    except TransferError as raised:
        return Finding(use=use, error=raised)
    try:
        identity = backend.identity() if isinstance(backend, Identified) else None
        warnings += _lifetime(identity)
        warnings += _rights(identity, use)
        _answers(backend, use)
        if isinstance(backend, TellsRights) and (lacking := backend.lacks(use.reads > 0, use.writes > 0)):
            origin = identity.origin if identity is not None else ""
            raise Denied(
                f"not allowed: {lacking}", host=use.endpoint.host, hint=f"have it granted to {origin}"
            )
        free = backend.free(use.target) if use.target and isinstance(backend, ReportsFreeSpace) else None
    except TransferError as raised:
        error = raised
    except OSError as raised:
        error = from_oserror(raised)
    finally:
        backend.close()
    seconds = time.monotonic() - began
    return Finding(
        use=use, identity=identity, free=free, seconds=seconds, warnings=tuple(warnings), error=error
    )


def _answers(backend: Backend, use: Use) -> None:
    """Looks at one file of each sort. Raises when the endpoint does not answer, or refuses."""
    with suppress(NotFound):  # a source that is missing is told with all others; a destination is to be made
        backend.stat(use.source or use.target)


def _lifetime(identity: Identity | None) -> Iterator[str]:
    if identity is None or identity.expires is None:
        return
    left = identity.expires - time.time()
    if left <= 0:
        raise Denied(f"the {identity.kind} has expired", hint=f"renew it: {identity.origin}")
    if left < SOON:
        yield f"the {identity.kind} lives only {left / 60:.0f} minutes more"


def _rights(identity: Identity | None, use: Use) -> Iterator[str]:
    """What a token says of itself: for whom it is, and what for. Raises where that is not what is wanted."""
    if identity is None:
        return
    lacking = tokens.missing(identity.scopes, use.reads > 0, use.writes > 0)
    if lacking:
        told = " ".join(identity.scopes)
        hint = f"get one with that scope: {identity.origin} has only {told}"
        raise Denied(f"the {identity.kind} lacks {lacking}", host=use.endpoint.host, hint=hint)
    rights = {scope.partition(":")[0] for scope in identity.scopes}
    if use.writes and "storage.create" in rights and not rights & {"storage.modify", "write"}:
        yield "the token allows storage.create only: nothing can be replaced, renamed or removed with it"
    if not tokens.for_any(identity.audience, use.endpoint.authority):
        yield f"the token is for {' '.join(identity.audience)}: the server may refuse it"
