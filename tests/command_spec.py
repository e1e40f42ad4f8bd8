"""A specification of a few local files, for tests of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import entry, write
from tests.material import content


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Three files to copy."""
    entries = []
    for n in range(3):
        (tmp_path / f"a{n}").write_bytes(content(5000, n))
        entries.append(entry(tmp_path / f"a{n}", tmp_path / "out" / f"b{n}", lfn=f"f{n}"))
    return write(tmp_path / "spec.json", entries)


def copied(directory: Path, *numbers: int) -> bool:
    found = {path.name: path.read_bytes() for path in (directory / "out").glob("*")}
    return found == {f"b{n}": content(5000, n) for n in numbers}
