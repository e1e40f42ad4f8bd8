"""Every protocol to every other, in one run of the installed command over all the real servers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import command
from tests.material import content, sha256
from tests.matrix_world import MAKERS, Matrix, matrix
from tests.servers.common import missing

SIZE = 300_007  # bytes
ODD = "100% %20 a+b #1 'single' \"double\" $HOME"
SOURCES = tuple(MAKERS)
TARGETS = tuple(name for name in MAKERS if name != "http")  # which is read only
PAIRS = [(source, target) for source in SOURCES for target in TARGETS]
each_pair = pytest.mark.parametrize(("source", "target"), PAIRS)
each_place = pytest.mark.parametrize("place", SOURCES)

# Where the storage copies by itself: always, or only when no digest is to be proved first.
COPIES_CHECKED = {"sftp", "gsiftp"}
COPIES = COPIES_CHECKED | {"webdav", "s3", "root"}


class Run(NamedTuple):
    """What was there for the command, what it told, and what is there after it."""

    world: Matrix
    code: int
    errors: str
    report: dict[str, dict[str, Any]]  # by LFN
    held: dict[str, dict[str, bytes]]  # by place and name
    scratch: list[str]

    def line(self, source: str, target: str) -> dict[str, Any]:
        """The outcome of one pair. Skips when a server of theirs is not here."""
        for place in (source, target):
            self.needs(place)
        return self.report[f"{source}-{target}"]

    def needs(self, place: str) -> None:
        if place in self.world.missing:
            missing(self.world.missing[place])


def odd(*protocols: str) -> str:
    """Globus' SRM client takes ASCII only; all others take anything here."""
    return ODD if "srm" in protocols else f"{ODD} Grüße-日本-🚀"


def given(source: str) -> tuple[str, bytes]:
    """The name and content of the file that waits at each source."""
    return f"{source} {odd(source)}", content(SIZE, SOURCES.index(source))


def wanted(source: str, target: str) -> str:
    """The name under which a source's file is to appear at a target."""
    return f"from {source} {odd(target)}"


def entry(world: Matrix, source: str, target: str, **keys: Any) -> dict[str, Any]:
    taken, put = (
        {"site_label": name, "url": world.places[name].url(file)}
        for name, file in ((source, given(source)[0]), (target, wanted(source, target)))
    )
    plain = {"type": "transfer", "lfn": f"{source}-{target}", "src_urls": [taken], "dest_urls": [put]}
    return plain | keys


def run(
    world: Matrix, directory: Path, pairs: Iterable[tuple[str, str]], digest: str | None, **keys: Any
) -> Run:
    """Moves a file for each pair that is here; ``digest``: to expect of all, "" for the right one of each."""
    for source, place in world.places.items():
        place.write(*given(source))
    entries = []
    for pair in pairs:
        if not world.missing.keys() & set(pair):
            value = digest or sha256(given(pair[0])[1])
            checked = {} if digest is None else {"checksum": {"type": "sha256", "value": value}}
            entries.append(entry(world, *pair, size=SIZE, **checked, **keys))
    spec = command.write(directory / "spec.json", entries)
    done = command.run("-m", "1", "-f", spec, "--report", "report", cwd=directory, env=world.environ)
    report = {line["lfn"]: line for line in command.lines(directory / "report") if "lfn" in line}
    scratch = os.listdir(world.environ["TMPDIR"])
    return Run(world, done.returncode, done.stderr, report, world.held(), scratch)


Factory = pytest.TempPathFactory


@pytest.fixture(scope="module")
def moved(request: pytest.FixtureRequest, tmp_path_factory: Factory) -> Iterator[Run]:
    """All pairs, with the digest that each file has."""
    directory = tmp_path_factory.mktemp("matrix")
    with matrix(request, directory, f"moved-{uuid.uuid4().hex}") as world:
        yield run(world, directory, PAIRS, "")


@pytest.fixture(scope="module")
def refused(request: pytest.FixtureRequest, tmp_path_factory: Factory) -> Iterator[Run]:
    """All pairs, with a digest that no file has."""
    directory = tmp_path_factory.mktemp("matrix")
    with matrix(request, directory, f"refused-{uuid.uuid4().hex}") as world:
        yield run(world, directory, PAIRS, sha256(b"something else"))


@pytest.fixture(scope="module")
def unchecked(request: pytest.FixtureRequest, tmp_path_factory: Factory) -> Iterator[Run]:
    """Each protocol to itself, with no digest known."""
    directory = tmp_path_factory.mktemp("matrix")
    with matrix(request, directory, f"unchecked-{uuid.uuid4().hex}") as world:
        yield run(world, directory, [(name, name) for name in TARGETS], None)


def route(source: str, target: str, copies: set[str]) -> str:
    """The cheapest way that the two ends can go."""
    if "file" in (source, target):
        return "direct"
    if source == target and source in copies:
        return "server-side"
    return "staged" if "srm" in (source, target) else "relay"


@each_pair
def test_moved(moved: Run, source: str, target: str) -> None:
    line = moved.line(source, target)
    assert line["status"] == "done", line["error"]
    data = given(source)[1]
    assert moved.held[target].get(wanted(source, target)) == data
    assert line["route"] == route(source, target, COPIES_CHECKED)
    assert (line["digest"], line["bytes"]) == ({"type": "sha256", "value": sha256(data)}, SIZE)
    assert line["verified"] == ["digest", "size"]


@each_place
def test_nothing_else_is_left_where_files_were_moved(moved: Run, place: str) -> None:
    moved.needs(place)
    name, data = given(place)
    came = [source for source in moved.world.places if place in TARGETS]
    assert moved.held[place].keys() == {name, *(wanted(source, place) for source in came)}
    assert moved.held[place][name] == data


def test_the_run_that_moved_them(moved: Run) -> None:
    assert (moved.code, moved.scratch) == (0, []), moved.errors


@each_pair
def test_refused(refused: Run, source: str, target: str) -> None:
    line = refused.line(source, target)
    assert (line["status"], line["error"]["kind"]) == ("failed", "corrupted"), line["error"]
    assert sha256(b"something else") in line["error"]["message"]
    assert wanted(source, target) not in refused.held[target]


@each_place
def test_nothing_is_left_where_files_were_refused(refused: Run, place: str) -> None:
    refused.needs(place)
    assert refused.held[place] == dict([given(place)])


def test_the_run_that_refused_them(refused: Run) -> None:
    assert (refused.code, refused.scratch) == (1, []), refused.errors


@pytest.mark.parametrize("place", TARGETS)
def test_to_itself_without_a_digest(unchecked: Run, place: str) -> None:
    line = unchecked.line(place, place)
    assert line["status"] == "done", line["error"]
    assert unchecked.held[place] == dict([given(place), (wanted(place, place), given(place)[1])])
    assert (line["route"], line["bytes"]) == (route(place, place, COPIES), SIZE)
