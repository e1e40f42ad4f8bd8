"""Runs that are killed or told to stop: nothing partial, no litter, and the next run does the rest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from pegasus_toolkit.cli.outputs import Remaining
from pegasus_toolkit.transfer.errors import Cancelled
from pegasus_toolkit.transfer.interface import Entry
from pegasus_toolkit.transfer.model import Transfer
from tests import command
from tests.command import entry, lines, run, write
from tests.material import content, sha256
from tests.test_engine_progress import seen
from tests.worlds import Recorder, Remote, World, move

SMALL, LARGE = 1500, 3
LARGE_SIZE = 12 << 20


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sources")
    for n in range(SMALL):
        (directory / f"small{n}").write_bytes(content(2000 + n % 7, n))
    for n in range(LARGE):
        (directory / f"large{n}").write_bytes(content(LARGE_SIZE, n))
    return directory


class Area:
    """A directory with a specification that copies the ``names`` of ``sources`` into ``out``."""

    def __init__(self, directory: Path, sources: Path, names: list[str]) -> None:
        self.directory, self.sources, self.names = directory, sources, names
        self.out = directory / "out"
        self.journal = directory / "journal"
        entries = [entry(sources / name, self.out / name, lfn=name) for name in names]
        self.spec = write(directory / "spec.json", entries)

    def partial(self) -> int:
        """Bytes in files that are not whole yet."""
        return sum(path.stat().st_size for path in self.out.glob(".*") if path.exists())

    def noted(self) -> int:
        """Operations that the journal says are done."""
        if not self.journal.exists():
            return 0
        whole = self.journal.read_bytes().split(b"\n")[:-1]
        return sum(line[:4] not in (b"pega", b"run ", b"end ") for line in whole)

    def inodes(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.out.glob("[!.]*")}

    def broken(self) -> list[str]:
        """Names that stand there with content that is not their source's."""
        return [
            path.name
            for path in self.out.glob("[!.]*")
            if path.read_bytes() != (self.sources / path.name).read_bytes()
        ]

    def whole(self) -> bool:
        """Whether all is there, right, and nothing else."""
        found = {path.name for path in self.out.iterdir()} if self.out.exists() else set()
        return found == set(self.names) and not self.broken()


@pytest.fixture
def many(tmp_path: Path, sources: Path) -> Area:
    return Area(tmp_path, sources, [f"small{n}" for n in range(SMALL)])


@pytest.fixture
def large(tmp_path: Path, sources: Path) -> Area:
    return Area(tmp_path, sources, [f"large{n}" for n in range(LARGE)])


Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts the command; what still runs when the test is over is killed."""
    started: list[Process] = []

    def launch(*arguments: str | Path, cwd: Path) -> Process:
        started.append(command.start(*arguments, cwd=cwd))
        return started[-1]

    yield launch
    for process in started:
        with process:
            process.kill()


def until(process: Process, condition: Callable[[], bool]) -> bool:
    """Waits until it holds; ``False`` when the process ended first."""
    while not condition():
        try:
            process.wait(timeout=0.002)
        except subprocess.TimeoutExpired:
            continue
        return condition()
    return True


def ended(process: Process) -> str:
    """Waits for the end that was asked for; what it said."""
    _, said = process.communicate(timeout=10)
    return said.decode()


def overlaps(report: Path) -> int:
    """How many operations began before another one was over."""
    told = sorted((line["started"], line["seconds"]) for line in lines(report)[:-1])
    return sum(later[0] < sum(earlier) for earlier, later in pairwise(told))


@pytest.mark.parametrize("threads", [1, LARGE])
def test_files_in_flight(large: Area, threads: int) -> None:
    arguments = ("-f", large.spec, "-n", threads, "--bandwidth", "40M", "--report", "r")
    done = run(*map(str, arguments), cwd=large.directory)
    assert done.returncode == 0, done.stderr
    assert (overlaps(large.directory / "r") > 0) == (threads > 1)


# -- kill -9 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0, 1, 400, 900, SMALL])
def test_killed_among_many_files(start: Start, many: Area, moment: int) -> None:
    process = start("-f", many.spec, "--journal", many.journal, cwd=many.directory)
    until(process, lambda: many.journal.exists() and many.noted() >= moment)
    process.kill()
    ended(process)
    assert many.broken() == []
    before, noted = many.inodes(), many.noted()
    again = run("-f", many.spec, "--journal", many.journal, "--report", "r", cwd=many.directory)
    assert again.returncode == 0, again.stderr
    assert many.whole()
    skipped = [line["lfn"] for line in lines(many.directory / "r") if line.get("status") == "skipped"]
    assert len(skipped) == noted
    after = many.inodes()
    assert all(after[name] == before[name] for name in skipped)


@pytest.mark.parametrize("moment", [1, LARGE_SIZE // 3, LARGE_SIZE, 2 * LARGE_SIZE])
def test_killed_in_the_middle_of_large_files(start: Start, large: Area, moment: int) -> None:
    arguments = ("-f", large.spec, "--journal", large.journal, "-n", "2")
    process = start(*arguments, "--bandwidth", "60M", cwd=large.directory)
    until(process, lambda: large.partial() + len(large.inodes()) * LARGE_SIZE >= moment)
    process.kill()
    ended(process)
    assert large.broken() == []
    again = run(*arguments, cwd=large.directory)
    assert again.returncode == 0, again.stderr
    assert large.whole()
    once_more = run(*arguments, "--report", "r", cwd=large.directory)
    assert once_more.returncode == 0
    assert [line["status"] for line in lines(large.directory / "r")[:-1]] == ["skipped"] * LARGE


def test_what_a_killed_run_left_is_removed_and_told(start: Start, large: Area) -> None:
    arguments = ("-f", large.spec, "--journal", large.journal)
    process = start(*arguments, "--bandwidth", "5M", cwd=large.directory)
    assert until(process, lambda: large.partial() > 0)
    process.kill()
    ended(process)
    assert large.partial() > 0
    again = run(*arguments, cwd=large.directory)
    assert "temporary files of a killed run removed" in again.stderr
    assert large.whole()


def test_the_report_of_a_killed_run_is_a_valid_beginning(start: Start, many: Area) -> None:
    process = start("-f", many.spec, "--report", "r", cwd=many.directory)
    report = many.directory / "r"
    until(process, lambda: report.exists() and report.stat().st_size > 50_000)
    process.kill()
    ended(process)
    whole = report.read_bytes().rpartition(b"\n")[0].split(b"\n")
    assert all(json.loads(line)["status"] == "done" for line in whole if b'"summary"' not in line)


# -- the journal -------------------------------------------------------------------------------------


def test_what_is_gone_or_new_is_moved(many: Area) -> None:
    arguments = ("-f", many.spec, "--journal", many.journal, "--report", "r")
    assert run(*arguments, cwd=many.directory).returncode == 0
    (many.out / "small3").unlink()
    (many.out / "small4").write_bytes(b"")
    entries = json.loads(many.spec.read_text())
    entries.reverse()
    entries.append(entry(many.sources / "large0", many.out / "large0"))
    write(many.spec, entries)
    assert run(*arguments, cwd=many.directory).returncode == 0
    moved = {line["lfn"] for line in lines(many.directory / "r") if line.get("status") == "done"}
    assert moved == {"small3", "small4", ""}
    assert many.broken() == []


def test_a_dry_run_tells_of_the_journal_and_leaves_it_alone(large: Area) -> None:
    arguments = ("-f", large.spec, "--journal", large.journal)
    assert run(*arguments, "--dry-run", cwd=large.directory).returncode == 0
    assert not large.journal.exists()
    assert run(*arguments, cwd=large.directory).returncode == 0
    before = large.journal.read_bytes()
    planned = run(*arguments, "--dry-run", cwd=large.directory)
    assert planned.stdout.count("done by an earlier run") == LARGE
    assert large.journal.read_bytes() == before


def test_two_runs_with_one_journal(start: Start, large: Area) -> None:
    arguments = ("-f", large.spec, "--journal", large.journal)
    process = start(*arguments, "--bandwidth", "5M", cwd=large.directory)
    assert until(process, lambda: large.partial() > 0)
    second = run(*arguments, cwd=large.directory)
    process.terminate()
    ended(process)
    assert second.returncode == 1, "the other run comes to its end"
    assert "in use by another run" in second.stderr


def test_a_file_that_is_no_journal_is_not_touched(large: Area) -> None:
    large.journal.write_text("my thesis\n")
    done = run("-f", large.spec, "--journal", large.journal, cwd=large.directory)
    assert done.returncode == 2
    assert "is not a journal of pegasus-transfer; it is left as it is" in done.stderr
    assert large.journal.read_text() == "my thesis\n"
    assert not large.out.exists()


def test_digests_of_what_an_earlier_run_moved_are_recorded_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    asks = [entry(tmp_path / "a", tmp_path / "b", lfn="f.a", generate_checksum=True)]
    arguments = ("-f", write(tmp_path / "s", asks), "--journal", "j", "--manifest", "SUMS")
    for name in ("first", "second"):
        done = run(*arguments, cwd=tmp_path, env={"KICKSTART_INTEGRITY_DATA": str(tmp_path / name)})
        assert done.returncode == 0, done.stderr
        assert yaml.safe_load((tmp_path / name).read_text())["f.a"]["sha256"] == sha256(b"abc")
        assert (tmp_path / "SUMS").read_text() == f"{sha256(b'abc')}  b\n"
    assert "1 skipped" in done.stderr


# -- signals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_in_order(start: Start, large: Area, number: signal.Signals) -> None:
    arguments = ("-f", large.spec, "--failed", "left.json")
    process = start(*arguments, "--bandwidth", "2M", "--report", "r", cwd=large.directory)
    assert until(process, lambda: large.partial() > 0)
    process.send_signal(number)
    assert process.wait(timeout=5) == 1
    said = ended(process)
    assert "Traceback" not in said
    assert "Some transfers failed!" in said and f"{LARGE} cancelled" in said
    assert list(large.out.iterdir()) == []
    told = lines(large.directory / "r")
    assert [line.get("status") for line in told] == ["cancelled"] * LARGE + [None]
    assert number.name in told[0]["error"]["message"]
    assert told[-1]["cancelled"] == LARGE and told[-1]["exit_code"] == 1
    assert run("-f", "left.json", cwd=large.directory).returncode == 0
    assert large.whole()


def test_what_was_not_begun_is_left_too(start: Start, many: Area) -> None:
    process = start(
        "-f", many.spec, "--bandwidth", "100k", "--failed", "l", "--report", "r", cwd=many.directory
    )
    assert until(process, lambda: len(many.inodes()) > 0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 1
    ended(process)
    done = many.inodes()
    assert 0 < len(done) < SMALL
    assert not many.broken() and many.partial() == 0
    left = {one["lfn"] for one in json.loads((many.directory / "l").read_text())}
    assert left == set(many.names) - set(done)
    told = lines(many.directory / "r")
    assert len(told) == SMALL + 1
    assert told[-1]["done"] == len(done)


@pytest.mark.parametrize("listed", [True, False])
def test_of_a_directory_that_was_cancelled_its_files_are_left(listed: bool) -> None:
    """Those that were listed; a directory whose listing was not over is left whole."""
    names = [f"f{n:02d}" for n in range(20)]
    world, told = World(), Recorder()
    world.store("a").update({f"/d/{name}": b"x" for name in names})
    operations = [move(0, "remote://a/d/", "memory://c/d/")]
    left = Remaining(operations)

    class Broken(Remote):
        def list(self, prefix: str) -> Iterator[Entry]:
            for number, one in enumerate(super().list(prefix)):
                if number == 10 and not listed:
                    raise Cancelled("enough")
                yield one

    def stop(path: str) -> None:
        if path == "/d/f04" and listed:
            seen(told, lambda look: look.files == 4 and not look.listing)
            engine.cancel("enough")
            raise Cancelled("enough")

    world.remote = Broken
    world.faults["a"] = stop
    engine = world.engine(told, concurrency=1)
    engine.observers = [told, left]
    assert engine.run(operations).exit_code == 1
    done = {path for path in world.store("c") if path.startswith("/d/")}
    assert "/d/f04" not in done if listed else "/d/f19" not in done
    found = {one.destinations[0].path for one in left if isinstance(one, Transfer)}
    assert found == ({f"/d/{name}" for name in names} - done if listed else {"/d/"})


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_second_signal_ends_it_at_once(start: Start, tmp_path: Path, silent: int) -> None:
    write(tmp_path / "s", [entry(f"http://127.0.0.1:{silent}/f", tmp_path / "f")])
    process = start("-f", "s", "--report", "r", "--journal", "j", cwd=tmp_path)
    assert until(process, lambda: (tmp_path / "j").exists() and b"run" in (tmp_path / "j").read_bytes())
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 1
    ended(process)
    assert (tmp_path / "r").read_bytes() == b""


def test_a_silent_server_does_not_hold_a_cancelled_run(start: Start, tmp_path: Path, silent: int) -> None:
    write(tmp_path / "s", [entry(f"http://127.0.0.1:{silent}/f{n}", tmp_path / f"f{n}") for n in range(20)])
    process = start("-f", "s", "--report", "r", "--journal", "j", cwd=tmp_path)
    assert until(process, lambda: (tmp_path / "j").exists() and b"run" in (tmp_path / "j").read_bytes())
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == 1
    ended(process)
    assert [line.get("status") for line in lines(tmp_path / "r")] == ["cancelled"] * 20 + [None]
    assert {path.name for path in tmp_path.iterdir()} == {"s", "r", "j"}


def test_hang_ups_are_ignored_under_nohup(start: Start, large: Area) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the child inherits it
    try:
        process = start("-f", large.spec, "--bandwidth", "30M", cwd=large.directory)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert until(process, lambda: large.partial() > 0)
    process.send_signal(signal.SIGHUP)
    ended(process)
    assert process.returncode == 0
    assert large.whole()


def test_a_signal_before_the_specification_was_read(tmp_path: Path, start: Start) -> None:
    os.mkfifo(tmp_path / "spec")
    process = start("-f", "spec", cwd=tmp_path)
    with (tmp_path / "spec").open("wb"):  # returns when the command has opened it, too
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 1
    assert "SIGTERM received before anything was moved" in ended(process)
