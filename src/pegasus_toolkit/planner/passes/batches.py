"""How many files one transfer or cleanup job takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

MOST = 100  # files in a job
IN, OUT, AWAY = 25, 50, MOST  # files that a job takes before there is a second: in, out, removed
BYTES = 10 * 1024**3  # in a job, where sizes are known
WANTED = 4  # jobs a level, where there are files enough


def limit(count: int, fewest: int, jobs: int = 0) -> int:
    """Files for one job, when ``count`` wait at a level; ``jobs``: how many the user wants, 0: no wish."""
    if jobs:
        return -(-count // jobs)
    return min(max(-(-count // WANTED), fewest), MOST)


def batches(groups: Iterable[tuple[list[T], int]], most: int) -> Iterator[list[T]]:
    """Groups (members, bytes) packed in order. One is split only where it alone passes ``most`` members."""
    batch: list[T] = []
    size = 0
    for members, bytes in groups:
        if batch and (len(batch) + len(members) > most or size + bytes > BYTES):
            yield batch
            batch, size = [], 0
        for at in range(0, len(members), most):
            part = members[at : at + most]
            if batch and len(batch) + len(part) > most:
                yield batch
                batch, size = [], 0
            batch = [*batch, *part] if batch else part
        size += bytes
    if batch:
        yield batch
