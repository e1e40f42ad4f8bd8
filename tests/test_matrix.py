"""Every protocol to every other, in one run of the installed command over all the real servers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests import command
from tests.material import content, sha256
from tests.matrix_world import MAKERS, Matrix, matrix
from tests.servers.common import missing

pytestmark = pytest.mark.timeout(300)  # the first test starts all servers

SIZE = 300_007  # bytes
WRONG = sha256(b"something else")
ODD = "100% %20 a+b #1 'single' \"double\" $HOME"
SOURCES = tuple(MAKERS)
TARGETS = tuple(name for name in MAKERS if name != "http")  # which is read only
PAIRS = [(source, target) for source in SOURCES for target in TARGETS]
each_pair = pytest.mark.parametrize(("source", "target"), PAIRS)
each_place = pytest.mark.parametrize("place", SOURCES)

# Where the storage copies by itself: always, or only when no digest is to be proved first. XRootD's servers
# could, but lend each other no proxy: their copies come through here, and are told so.
COPIES_CHECKED = {"sftp", "gsiftp", "go"}
COPIES = COPIES_CHECKED | {"webdav", "s3", "gs"}
WHOLE = {"srm", "fdt"}  # which move local files only


class Run(NamedTuple):
    """What was there for the command, what it told, and what is there after it."""

    world: Matrix
    code: int
    errors: str
    report: dict[str, dict[str, Any]]  # by LFN
    held: dict[str, dict[str, str]]  # sha256 by place and name
    scratch: list[str]

    def line(self, source: str, target: str) -> dict[str, Any]:
        """The outcome of one pair. Skips when a server of theirs is not here."""
        self.needs(source, target)
        return self.report[f"{source}-{target}"]

    def needs(self, *places: str) -> None:
        for place in places:
            if place in self.world.missing:
                missing(self.world.missing[place])


def odd(protocol: str) -> str:
    """Globus' SRM client takes ASCII only, XRootD's HTTP server less, Rucio hardly more than letters; all
    others take anything here."""
    if protocol == "rucio":
        return "a--b.c_D"
    if protocol == "osdf":
        return "a+b 'single' $HOME"
    return ODD if protocol == "srm" else f"{ODD} Grüße-日本-🚀"


def data(source: str) -> bytes:
    """What is in the file that waits at each source."""
    return content(SIZE, SOURCES.index(source))


def given(source: str) -> str:
    """Its name."""
    return spelt(source, source)


def wanted(source: str, target: str) -> str:
    """The name under which it is to appear at a target."""
    return spelt(target, "from", source)


def spelt(protocol: str, *words: str) -> str:
    return ("_" if protocol == "rucio" else " ").join([*words, odd(protocol)])


def entry(world: Matrix, source: str, target: str, **keys: Any) -> dict[str, Any]:
    """One transfer of the specification."""
    names = {"src_urls": (source, given(source)), "dest_urls": (target, wanted(source, target))}
    urls = {
        key: [{"site_label": place, "url": world.places[place].url(name)}]
        for key, (place, name) in names.items()
    }
    return {"type": "transfer", "lfn": f"{source}-{target}", "size": SIZE, **urls, **keys}


def run(world: Matrix, directory: Path, entries: list[dict[str, Any]]) -> Run:
    """Runs the command over them, with a file waiting at each source."""
    for source, place in world.places.items():
        place.write(given(source), data(source))
    spec = command.write(directory / "spec.json", entries)
    argv = ("-m", "1", "-f", spec, "--report", "report")
    done = command.run(*argv, cwd=directory, env=world.environ, limit=240)
    assert (directory / "report").exists(), done.stderr
    report = {line["lfn"]: line for line in command.lines(directory / "report") if "lfn" in line}
    scratch = os.listdir(world.environ["TMPDIR"])
    held = {
        name: {file: sha256(found) for file, found in place.held().items()}
        for name, place in world.places.items()
    }
    return Run(world, done.returncode, done.stderr, report, held, scratch)


def here(world: Matrix, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [pair for pair in pairs if not world.missing.keys() & set(pair)]


Areas = Callable[[str], AbstractContextManager[tuple[Matrix, Path]]]


@pytest.fixture(scope="module")
def areas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Areas:
    """Makes fresh areas, and a directory for the run."""

    @contextmanager
    def make(name: str) -> Iterator[tuple[Matrix, Path]]:
        directory = tmp_path_factory.mktemp(name)
        with matrix(request, directory, f"{name}-{uuid.uuid4().hex}") as world:
            yield world, directory

    return make


@pytest.fixture(scope="module")
def moved(areas: Areas) -> Iterator[Run]:
    """All pairs, with the digest that each file has; storage other than SRM's (slow) is to prove it."""
    with areas("moved") as (world, directory):
        entries = [
            entry(
                world,
                *pair,
                checksum={"type": "sha256", "value": sha256(data(pair[0]))},
                verify_checksum_remote="srm" not in pair,
            )
            for pair in here(world, PAIRS)
        ]
        yield run(world, directory, entries)


@pytest.fixture(scope="module")
def refused(areas: Areas) -> Iterator[Run]:
    """All pairs, with a digest that no file has."""
    with areas("refused") as (world, directory):
        wrong = {"type": "sha256", "value": WRONG}
        yield run(world, directory, [entry(world, *pair, checksum=wrong) for pair in here(world, PAIRS)])


@pytest.fixture(scope="module")
def unchecked(areas: Areas) -> Iterator[Run]:
    """Each protocol to itself, with no digest known."""
    with areas("unchecked") as (world, directory):
        pairs = here(world, ((name, name) for name in TARGETS))
        yield run(world, directory, [entry(world, *pair) for pair in pairs])


def route(source: str, target: str, copies: set[str]) -> str:
    """The cheapest way that the two ends can go."""
    if "file" in (source, target):
        return "direct"
    if source == target and source in copies:
        return "server-side"
    return "staged" if WHOLE & {source, target} else "relay"


@each_pair
def test_moved(moved: Run, source: str, target: str) -> None:
    line = moved.line(source, target)
    assert line["status"] == "done", line["error"]
    digest = sha256(data(source))
    assert moved.held[target].get(wanted(source, target)) == digest
    assert line["route"] == route(source, target, COPIES_CHECKED)
    assert (line["digest"], line["bytes"]) == ({"type": "sha256", "value": digest}, SIZE)
    assert line["verified"] == ["digest", "size"] + ["remote"] * ("srm" not in (source, target))


@each_place
def test_nothing_else_is_where_files_were_moved(moved: Run, place: str) -> None:
    moved.needs(place)
    came = [source for source, target in here(moved.world, PAIRS) if target == place]
    assert moved.held[place].keys() == {given(place), *(wanted(source, place) for source in came)}
    assert moved.held[place][given(place)] == sha256(data(place))


def test_the_run_that_moved_them(moved: Run) -> None:
    assert (moved.code, moved.scratch) == (0, []), moved.errors


@each_pair
def test_refused(refused: Run, source: str, target: str) -> None:
    line = refused.line(source, target)
    assert line["status"] == "failed"
    assert line["error"]["kind"] == "corrupted" and WRONG in line["error"]["message"], line["error"]
    assert wanted(source, target) not in refused.held[target]


@each_place
def test_nothing_is_left_where_files_were_refused(refused: Run, place: str) -> None:
    refused.needs(place)
    assert refused.held[place] == {given(place): sha256(data(place))}


def test_the_run_that_refused_them(refused: Run) -> None:
    assert (refused.code, refused.scratch) == (1, []), refused.errors


@pytest.mark.parametrize("place", TARGETS)
def test_to_itself_without_a_digest(unchecked: Run, place: str) -> None:
    line = unchecked.line(place, place)
    assert line["status"] == "done", line["error"]
    assert unchecked.held[place] == dict.fromkeys([given(place), wanted(place, place)], sha256(data(place)))
    assert (line["route"], line["bytes"]) == (route(place, place, COPIES), SIZE)
