"""What the zygote starts is as if it had been started afresh, and goes when its engine goes."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.engines.messages import Ended, Refused
from pegasus_toolkit.engines.spawner import Gone, Program, Spawner

OURS = """
import json, os, signal, sys, threading, time

def main():
    known = (n for n in signal.valid_signals() if n not in (9, 19))
    handled = [n for n in known if signal.getsignal(n) != signal.SIG_DFL]
    known = {
        "argv": sys.argv,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "session": os.getsid(0) == os.getpid() == os.getpgid(0),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "handled": sorted(handled),
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "threads": threading.active_count(),
        "stdin": sys.stdin.read(),
        "preloaded": "colorsys" in sys.modules,
        "umask": os.umask(0),
        "zone": time.strftime("%Z %z"),
    }
    json.dump(known, sys.stdout)
    print("fault", file=sys.stderr)
    return 5

def exits():
    sys.exit("told")

def raises():
    raise ValueError("oops")

def nothing():
    print("ok")

def sleeps():
    signal.pause()

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def spawner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spawner]:
    (tmp_path / "ours_for_test.py").write_text(OURS)
    monkeypatch.syspath_prepend(tmp_path)
    found = Spawner(["colorsys", "no_such_module_at_all"])
    yield found
    found.close()


def program(tmp_path: Path, *argv: str, entry: str = "", **environ: str) -> Program:
    return Program(
        argv=argv,
        environ=environ,
        cwd=str(tmp_path),
        stdin=os.devnull,
        stdout=str(tmp_path / "out"),
        stderr=str(tmp_path / "err"),
        entry=entry,
    )


def wait(spawner: Spawner) -> Ended | Refused:
    while True:
        select.select([spawner.fileno()], [], [])
        for reply in spawner.replies():
            return reply


def test_ours_is_as_if_it_was_started(spawner: Spawner, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("given")
    environ = {"ONE": "1", "TZ": "XYZ-5", "LC_CTYPE": "C.UTF-8"}
    ours = program(tmp_path, "/opt/ours", "a b", "ü\udcff", entry="ours_for_test:main", **environ)
    fresh = program(tmp_path, sys.executable, str(tmp_path / "ours_for_test.py"), "a b", "ü\udcff", **environ)
    found = []
    for id, one in enumerate((fresh, ours)):
        spawner.start(id, one._replace(stdin=str(tmp_path / "in")))
        ended = wait(spawner)
        assert isinstance(ended, Ended) and ended.status == 5
        found.append(json.loads((tmp_path / "out").read_text()))
        assert (tmp_path / "err").read_text() == "fault\n"
    afresh, forked = found
    assert forked.pop("argv") == ["/opt/ours", "a b", "ü\udcff"]
    assert (forked.pop("preloaded"), afresh.pop("preloaded")) == (True, False)
    afresh.pop("argv")
    assert forked == afresh
    assert forked["environ"] == environ and forked["stdin"] == "given" and forked["session"]


def test_how_a_program_of_ours_ends(spawner: Spawner, tmp_path: Path) -> None:
    for name, status, out, err in (
        ("exits", 1, "", "told\n"),
        ("nothing", 0, "ok\n", ""),
        ("raises", 1, "", "ValueError: oops\n"),
    ):
        spawner.start(1, program(tmp_path, "x", entry=f"ours_for_test:{name}"))
        ended = wait(spawner)
        assert isinstance(ended, Ended) and ended.status == status
        assert (tmp_path / "out").read_text() == out
        assert (tmp_path / "err").read_text().endswith(err)
    spawner.start(1, program(tmp_path, "x", entry="ours_for_test:missing"))
    ended = wait(spawner)
    assert isinstance(ended, Ended) and ended.status == 1
    assert "has no attribute 'missing'" in (tmp_path / "err").read_text()


def test_what_cannot_be_started(spawner: Spawner, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no magic\n")
    script.chmod(0o755)
    good = program(tmp_path, "/bin/true")
    for one, reason in (
        (program(tmp_path, "/no/where"), "No such file or directory: /no/where"),
        (program(tmp_path, str(script)), f"Exec format error: {script}"),
        (good._replace(cwd="/no/where"), "No such file or directory: /no/where"),
        (good._replace(stdin="/no/in"), "No such file or directory: /no/in"),
        (good._replace(stdout="/no/out"), "No such file or directory: /no/out"),
    ):
        spawner.start(7, one)
        assert wait(spawner) == Refused(7, reason)
    spawner.start(8, good)
    ended = wait(spawner)
    assert isinstance(ended, Ended) and (ended.id, ended.status) == (8, 0)


def test_signals_reach_all_of_a_program(spawner: Spawner, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ready")
    spawner.start(1, program(tmp_path, "/bin/sh", "-c", "sh -c ': > ready; exec sleep 1000'; echo no"))
    (tmp_path / "ready").read_text()
    spawner.signal(1, signal.SIGTERM)
    ended = wait(spawner)
    assert isinstance(ended, Ended) and ended.status == -signal.SIGTERM
    assert (tmp_path / "out").read_text() == ""
    spawner.signal(1, signal.SIGKILL)  # it is over: nothing


def test_a_signal_that_comes_at_once_is_not_lost(spawner: Spawner, tmp_path: Path) -> None:
    for _ in range(5):
        spawner.start(1, program(tmp_path, "x", entry="ours_for_test:sleeps"))
        spawner.signal(1, signal.SIGTERM)
        ended = wait(spawner)
        assert isinstance(ended, Ended) and ended.status == -signal.SIGTERM


def test_cpu_time_is_told(spawner: Spawner, tmp_path: Path) -> None:
    spawner.start(
        1, program(tmp_path, sys.executable, "-c", "while __import__('time').process_time() < 0.2: pass")
    )
    ended = wait(spawner)
    assert isinstance(ended, Ended) and 0.1 < ended.user + ended.system < 10


def test_output_is_appended_where_that_is_asked_for(spawner: Spawner, tmp_path: Path) -> None:
    same = program(tmp_path, "/bin/sh", "-c", "echo out; echo err >&2")._replace(stderr=str(tmp_path / "out"))
    for append in (False, False, True):
        spawner.start(1, same._replace(append=append))
        wait(spawner)
    assert (tmp_path / "out").read_text() == "out\nerr\n" * 2


def test_a_killed_zygote_is_noticed_and_what_it_started_goes_too(spawner: Spawner, tmp_path: Path) -> None:
    for name in ("ready", "alive"):
        os.mkfifo(tmp_path / name)
    script = "exec 3> alive; echo $PPID > ready; sleep 1000 & wait"
    spawner.start(1, program(tmp_path, "/bin/sh", "-c", script))
    alive = os.open(tmp_path / "alive", os.O_RDONLY)
    zygote = int((tmp_path / "ready").read_text())
    assert list(spawner.replies()) == []  # it has started
    os.kill(zygote, signal.SIGKILL)
    with pytest.raises(Gone):
        wait(spawner)
    assert os.read(alive, 1) == b""
    os.close(alive)
    with pytest.raises(Gone):
        spawner.start(2, program(tmp_path, "/bin/true"))
        wait(spawner)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Not even what has made itself a session of its own and ignores SIGTERM; nor the scratch directory."""
    for name in ("ready", "alive"):
        os.mkfifo(tmp_path / name)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "x").write_text("")
    spawner = Spawner(scratch=str(scratch))
    # It holds "alive" open for writing; whoever reads there sees the end when it is gone.
    script = "setsid sh -c 'trap \"\" TERM; exec 3> alive; : > ready; sleep 1000 & wait' & wait"
    spawner.start(1, program(tmp_path, "/bin/sh", "-c", script))
    alive = os.open(tmp_path / "alive", os.O_RDONLY)
    (tmp_path / "ready").read_text()
    spawner.close()
    assert os.read(alive, 1) == b""
    os.close(alive)
    assert not scratch.exists()
