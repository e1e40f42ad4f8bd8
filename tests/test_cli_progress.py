"""What is shown while a run goes on: one live line on a terminal, short lines in a log."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import structs

from pegasus_toolkit.cli.console import Console, fitted, visible
from pegasus_toolkit.cli.progress import INTERVAL, MANY, Lines, Live, live_line
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.errors import Defect, NotFound, TimedOut
from pegasus_toolkit.transfer.observer import Progress, UnderWay
from tests.command import PROGRAM, entry, environment, run, write
from tests.material import content
from tests.outcomes import attempt, done, failed, local, make_directory, transfer, web

HALF = Progress(
    total=1000,
    done=400,
    failed=100,
    bytes=50 << 20,
    seconds=10.0,
    active=(UnderWay("/a", 40.0, 1 << 20, 4 << 20), UnderWay("/b", 1.0)),
    waiting=3,
    files=500,
    known=1000,
    whole=50 << 20,
)


def console(debug: bool = False, quiet: bool = False) -> Console:
    return Console(io.StringIO(), debug, quiet)


def written(console: Console) -> list[str]:
    """What was written, a line each, without the time."""
    assert isinstance(console.stream, io.StringIO)
    return [re.sub(r"^\S+ \S+ +", "", line) for line in console.stream.getvalue().splitlines()]


def test_a_line_names_state_route_size_rate_and_name() -> None:
    log = console()
    operation = transfer(web("http://h/a"), local("/b"), lfn="f.a")
    Lines(log, 1, live=False).settled(
        [done(operation, bytes(2048)), done(make_directory(Path("/d")), route="")]
    )
    assert written(log) == ["INFO:  done  direct  2.0 KiB  4.0 KiB/s  f.a", "INFO:  done  mkdir  file:///d"]


def test_a_failure_names_the_error_and_where() -> None:
    log = console()
    operation = transfer(web("http://h/a"), local("/b"), lfn="f.a")
    error = NotFound("404 Not Found", url="http://h/a", hint="look again")
    Lines(log, 1, live=False).settled([failed(operation, error)])
    assert written(log) == ["ERROR:  failed  direct  f.a: not found: 404 Not Found: http://h/a; look again"]


def test_debug_tells_attempts_and_where_a_defect_is() -> None:
    log = console(debug=True)
    operation = transfer(web("http://h/a"), local("/b"))
    try:
        raise KeyError("x")
    except KeyError as raised:
        defect = Defect.wrap(raised)
    attempts = (attempt(operation, error=TimedOut("silence")), attempt(operation, error=defect))
    Lines(log, 1, live=False).settled([failed(operation, defect, attempts=attempts)])
    text = "\n".join(written(log))
    assert "attempt 1: direct, http://h/a -> file:///b, 0.500 s: silence" in text
    assert "attempt 2" in text
    assert 'raise KeyError("x")' in text


def test_a_log_of_many_operations_is_summarised() -> None:
    log = console()
    lines = Lines(log, MANY + 1, live=False)
    operation = transfer(web("http://h/a"), local("/b"))
    lines.settled([done(operation, b"x"), failed(operation, NotFound("no"))])
    lines.tick(HALF)
    lines.tick(HALF._replace(seconds=INTERVAL + 1))
    lines.tick(HALF._replace(seconds=INTERVAL + 2))
    told = written(log)
    assert len(told) == 3
    assert told[0].startswith("ERROR:  failed")
    assert told[1] == (
        "INFO:  500/1000 files, 50.0 MiB in 31s, 1.6 MiB/s, 31s left  100 failed  3 waiting to be tried again"
    )
    assert told[2] == "INFO:      under way for 40s: /a 25 % of 4.0 MiB"


def test_a_directory_is_one_line() -> None:
    """With -d each of its files has one."""
    member = structs.replace(done(transfer(web("http://h/d/a"), local("/d/a")), b"x"), member=True)
    whole = structs.replace(done(transfer(web("http://h/d"), local("/d")), route="directory"), files=3000)
    for debug in (False, True):
        log = console(debug=debug)
        Lines(log, 1, live=False).settled([member] * 3000 + [whole])
        told = [line for line in written(log) if "done" in line]
        assert len(told) == (3001 if debug else 1)
        assert "(3000 files)" in told[-1]


def test_the_log_of_a_run_of_hours_says_less_often_how_far_it_is() -> None:
    log = console()
    lines = Lines(log, 1, live=False)
    for seconds in range(10 * 3600):
        lines.tick(HALF._replace(seconds=float(seconds), active=()))
    assert 100 < len(written(log)) < 200


@pytest.mark.parametrize("options", [{"quiet": True}, {}])
def test_successes_are_not_told_one_by_one_when_quiet_or_live(options: dict[str, bool]) -> None:
    log = console(**options)
    lines = Lines(log, 1, live=not options)
    lines.settled([done(transfer(web("http://h/a"), local("/b")), b"x")])
    lines.tick(HALF._replace(seconds=1000.0))
    assert written(log) == []


def test_the_live_line_tells_what_matters_first() -> None:
    assert live_line(HALF, 5 << 20) == (
        "[##########..........] 500/1000  50.0 MiB  5.0 MiB/s  100 failed  3 waiting to be tried again"
        "  10s left  /a 25 % of 4.0 MiB (+1)"
    )
    assert live_line(HALF._replace(active=(UnderWay("/f?sig=secret", 1.0),)), 0).endswith("/f?sig=***")
    deep = UnderWay("sftp://host/a/long/way/down/d7/f0001.dat", 1.0)
    assert live_line(HALF._replace(active=(deep,)), 0).endswith("  d7/f0001.dat")


def test_where_all_sizes_are_known_bytes_count() -> None:
    known = HALF._replace(size=200 << 20, active=(), failed=0, waiting=0)
    assert live_line(known, 5 << 20) == (
        "[#####...............] 500/1000  50.0 MiB of 200.0 MiB (25 %)  5.0 MiB/s  30s left"
    )
    listed = known._replace(listing=True)
    assert live_line(listed, 5 << 20) == "[##########..........] 500/1000+  50.0 MiB  5.0 MiB/s"


def test_the_rate_of_the_live_line_is_of_late() -> None:
    log = console()
    live = Live(log)
    for seconds in range(20):
        live.tick(HALF._replace(seconds=float(seconds), bytes=0 if seconds < 15 else (seconds - 14) << 20))
    assert "1.0 MiB/s" in written(log)[-1]


def test_a_line_of_the_log_stands_above_the_live_line() -> None:
    log = console()
    log.status("live")
    log.error("trouble")
    assert isinstance(log.stream, io.StringIO)
    text = log.stream.getvalue()
    assert text.startswith("\r\x1b[Klive\r\x1b[K")
    assert text.endswith("ERROR:  trouble\nlive")


def test_letters_that_steer_a_terminal_are_escaped() -> None:
    assert visible("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\\n"
    assert visible("Grüße 日本") == "Grüße 日本"
    log = console()
    log.error("a\nb\x1b")
    assert written(log) == ["ERROR:  a\\nb\\x1b"]


@pytest.mark.parametrize(
    ("text", "width", "cut"), [("abc", 2, "ab"), ("日本語", 5, "日本"), ("é日", 2, "é"), ("a", 0, "")]
)
def test_lines_are_cut_to_columns(text: str, width: int, cut: str) -> None:
    assert fitted(text, width) == cut


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 30, "3.0 GiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes_for_people(n: int, text: str) -> None:
    assert units.size(n) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (65, "1m05s"), (3600 * 2 + 60, "2h01m")])
def test_spans_for_people(seconds: float, text: str) -> None:
    assert units.span(seconds) == text


# -- on a real terminal ----------------------------------------------------------------------------


def on_terminal(*arguments: str | Path, cwd: Path, columns: int = 60, term: str = "xterm") -> tuple[int, str]:
    """Runs the command with standard error on a terminal; its exit code and what it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(TERM=term),
    )
    os.close(theirs)
    blocks = []
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # how Linux tells that the other side was closed
            break
        if not block:
            break
        blocks.append(block)
    os.close(ours)
    return process.wait(timeout=10), b"".join(blocks).decode()


@pytest.fixture
def slow(tmp_path: Path) -> tuple[str | Path, ...]:
    """Arguments of a run that lasts for some ticks, and has one failure."""
    entries = [entry(tmp_path / "missing", tmp_path / "out" / "x")]
    for n in range(4):
        (tmp_path / f"a{n}").write_bytes(content(1 << 20, n))
        entries.append(entry(tmp_path / f"a{n}", tmp_path / "out" / ("long name " * 9 + str(n))))
    return ("-f", write(tmp_path / "spec", entries), "--bandwidth", "8M", "-n", "1")


def test_one_live_line_on_a_terminal(tmp_path: Path, slow: tuple[str | Path, ...]) -> None:
    code, said = on_terminal(*slow, cwd=tmp_path)
    assert code == 2
    drawn = [part for part in re.split(r"\r\x1b\[K|\n", said) if part.startswith("[")]
    assert len(drawn) > 1
    assert all(len(line.rstrip("\r")) < 60 for line in drawn)
    assert "/5" in drawn[-1]
    assert "ERROR:  failed" in said
    assert "INFO:  done" not in said
    last = said.replace("\r\n", "\n").splitlines()[-1]
    assert last.endswith("Some transfers failed! See above, and possibly stderr.")


@pytest.mark.parametrize(
    ("options", "term"), [(("--progress", "never"), "xterm"), ((), "dumb"), (("-q",), "xterm")]
)
def test_no_live_line_where_none_is_wanted(
    tmp_path: Path, slow: tuple[str | Path, ...], options: tuple[str, ...], term: str
) -> None:
    code, said = on_terminal(*slow, *options, cwd=tmp_path, term=term)
    assert code == 2
    assert "\x1b" not in said
    assert ("INFO:  done" in said) == (options != ("-q",))


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that nobody has read for long."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield reader, writer
    for end in (reader, writer):
        with suppress(OSError):
            os.close(end)


def test_lines_that_nobody_reads_wait_and_hold_nothing_up(full_pipe: tuple[int, int]) -> None:
    reader, writer = full_pipe
    with os.fdopen(os.dup(writer), "w") as stream:
        log = Console(stream)
        for n in range(1000):
            log.info(f"line {n}")
        os.set_blocking(reader, False)
        read = b""
        while not log.flush() or not read.endswith(b"line 999\n"):
            with suppress(BlockingIOError):
                read += os.read(reader, 1 << 16)
    lines = [line.rpartition(b"INFO:  ")[2] for line in read.splitlines()]
    assert lines == [b"line %d" % n for n in range(1000)]


def test_what_is_too_much_is_counted(full_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pegasus_toolkit.cli.console.MOST_WAITING", 100)
    reader, writer = full_pipe
    with os.fdopen(os.dup(writer), "w") as stream:
        log = Console(stream)
        for n in range(10):
            log.info(f"line {n}" + "." * 60)
        os.set_blocking(reader, False)
        read = b""
        while not log.flush() or b"missing" not in read:
            with suppress(BlockingIOError):
                read += os.read(reader, 1 << 16)
    assert b"9 lines are missing here" in read


def test_a_full_standard_error_does_not_hold_up_the_end(tmp_path: Path, full_pipe: tuple[int, int]) -> None:
    for n in range(50):
        (tmp_path / f"a{n}").write_bytes(b"abc")
    spec = write(tmp_path / "s", [entry(tmp_path / f"a{n}", tmp_path / f"b{n}") for n in range(50)])
    command = [PROGRAM, "-f", str(spec), "-d", "--failed", "left", "--report", "report"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=full_pipe[1]) as process:
        try:
            while process.poll() is None and not (tmp_path / "left").exists():
                time.sleep(0.01)
            process.terminate()  # while it waits for a reader of its last lines
            process.wait(timeout=20)
        finally:
            process.kill()
    assert json.loads((tmp_path / "left").read_text()) == []
    assert b'"type":"summary"' in (tmp_path / "report").read_bytes()
    assert all((tmp_path / f"b{n}").exists() for n in range(50))


def test_the_end_tells_files_and_bytes_and_the_command_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for n in range(3):
        (tmp_path / "in" / f"f{n}").write_bytes(b"12345")
    (tmp_path / "taken").write_bytes(b"a file where a directory should be")
    done = run("in", "taken/x", "--journal", "my journal", cwd=tmp_path)
    assert done.returncode == 2
    assert "To continue: pegasus-transfer in taken/x --journal 'my journal'\n" in done.stderr
    done = run("in", "taken/x", "--failed", "left", cwd=tmp_path)
    assert "To do what is left: pegasus-transfer -f left" in done.stderr
    assert "3 done; 3 files, 15 B in 0s" in run("in/", "good", cwd=tmp_path).stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cp --include f* -n 2 in/ out/", "To do it again: pegasus-files {}   (with --journal"),
        ("sync --exclude *.tmp --delete in/ out/", "To continue: pegasus-files {}\n"),
        ("cp --journal j --links skip in/ out/", "To continue: pegasus-files {}\n"),
    ],
)
def test_the_command_that_goes_on_is_the_whole_one(tmp_path: Path, words: str, told: str) -> None:
    """Without a filter, more would be copied than was asked for."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/f").write_bytes(bytes(1_000_000))
    given = ["--bandwidth", "10k", *words.split()[1:]]
    command = [sys.executable, "-m", "pegasus_toolkit.cli.files", words.split(maxsplit=1)[0], *given]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 30
        while not list(tmp_path.glob("out/.f*")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 1, error
    assert told.format(shlex.join([words.split(maxsplit=1)[0], *given])) in error, error
