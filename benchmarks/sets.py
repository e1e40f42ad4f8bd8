"""The sets of files that are moved, and the check of what arrived."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = 1 << 20


class Shape(NamedTuple):
    """Files of one size (bytes), so many in each directory."""

    files: int
    size: int
    directories: int = 1


SHAPES = {"A": Shape(1, 2 << 30), "B": Shape(10_000, 4 << 10, 100), "C": Shape(200, 5 << 20)}
QUICK = {"A": Shape(1, 128 << 20), "B": Shape(500, 4 << 10, 10), "C": Shape(20, 5 << 20)}


class File(NamedTuple):
    """One file of a set: path below its directory, and what it must be."""

    path: str
    size: int
    sha256: str


class Wrong(Exception):
    """What arrived is not what was sent."""


def make(directory: Path, shape: Shape, seed: int = 1) -> list[File]:
    """Writes a set with contents that do not compress and differ from file to file."""
    chance = random.Random(seed)
    block = chance.randbytes(min(BLOCK, shape.size))
    files = []
    for number in range(shape.files):
        path = f"d{number * shape.directories // shape.files:03}/f{number:05}"
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with target.open("wb") as out:
            for part in range(max(1, shape.size // len(block))):
                content = f"{number:08}{part:08}".encode() + block[16:]
                digest.update(content)
                out.write(content)
        files.append(File(path, shape.size, digest.hexdigest()))
    return files


def sample(files: list[File]) -> list[File]:
    """The first, the last and some between, about 64 MiB in all at most (but one at least)."""
    count = max(1, min(len(files), 20, (64 << 20) // files[0].size))
    step = max(1, len(files) // count)
    return [*files[: step * count : step], files[-1]] if len(files) > 1 else files


def check(directory: Path, files: list[File]) -> None:
    """Names and sizes of all, digests of a sample. Raises ``Wrong``."""
    expected = {file.path: file.size for file in files}
    compare(dict(_found(str(directory), len(str(directory)) + 1)), expected)
    for file in sample(files):
        digest = hashlib.sha256()
        with (directory / file.path).open("rb") as content:
            while block := content.read(BLOCK):
                digest.update(block)
        if digest.hexdigest() != file.sha256:
            raise Wrong(f"{file.path}: wrong digest")


def compare(found: dict[str, int], expected: dict[str, int]) -> None:
    """Both are path to size. Raises ``Wrong`` where they differ."""
    if found != expected:
        odd = sorted(found.items() ^ expected.items())[:3]
        raise Wrong(f"{len(found)} files arrived, {len(expected)} expected; they differ in {odd}")


def _found(directory: str, strip: int) -> Iterator[tuple[str, int]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _found(entry.path, strip)
            else:
                yield entry.path[strip:], entry.stat().st_size
