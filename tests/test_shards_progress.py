"""How far a run of shards is, by files and bytes, while it runs."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pegasus_toolkit.cli.shards_progress import Followed
from pegasus_toolkit.transfer.observer import Progress
from pegasus_toolkit.worker.shard_progress import MARK, Reports, ShardProgress, parsed
from tests.command import entry, environment, write
from tests.servers.odd_http import Answer, Odd, Reply, Request
from tests.test_shards_run import LOCALLY, SCRIPTS

SIZE = 1 << 20


def followed(submit: Path) -> Followed:
    known = json.loads((submit / "plan.json").read_bytes())["specification"]
    return Followed(str(submit), known["shards"], known["bytes"])


def until(true: Callable[[], bool]) -> None:
    for _ in range(3000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come")


def test_bytes_of_shards_while_they_run(tmp_path: Path, odd: Callable[[Answer], Odd]) -> None:
    go_on = threading.Event()

    def answer(request: Request) -> Reply:
        if request.target.endswith("3"):
            go_on.wait(60)
        return Reply(b"x" * SIZE)

    server, submit = odd(answer), tmp_path / "sub"
    names = [f"f{n}" for n in range(4)]
    spec = [
        entry(f"http://{server.authority}/{name}", tmp_path / "out" / name, lfn=name, size=SIZE)
        for name in names
    ]
    write(tmp_path / "spec.json", spec)
    command = [SCRIPTS / "pegasus-transfer", "spec.json", *LOCALLY, "--shards", "2", "--dir", "sub"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: (submit / "transfer.dag").exists())
        until(lambda: followed(submit).line(False).startswith("3/4 files, 3.0 MiB of 4.0 MiB (75 %)"))
        go_on.set()
        _, said = running.communicate(timeout=60)
    finally:
        go_on.set()
        running.kill()
        running.wait()
    assert running.returncode == 0, said
    assert followed(submit).line(False).startswith("4/4 files, 4.0 MiB of 4.0 MiB (100 %)")


def test_what_shards_elsewhere_say_in_the_event_log(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    told = Followed(str(tmp_path), {"transfer-0001": 10, "transfer-0002": 5}, None)
    assert told.line(False).startswith("0/15 files, 0 B in")
    first, last = ShardProgress(2, 10, 0, 0, 500, -1), ShardProgress(4, 10, 0, 1, 2048, 4096)
    with (tmp_path / "workflow.log").open("a") as log:
        log.write(f"008 (1.0.0) 2026-12-01 10:00:00 \n{MARK} transfer-0001 {first.line()}\n...\n")
        log.write(f"{MARK} transfer-0001 {last.line()}\n...\n{MARK} transfer-0002 nonsense\n...\n{MARK} tran")
    line = told.line(False)
    assert line.startswith("4/15 files, 2.0 KiB in") and "1 failed" in line
    with (tmp_path / "workflow.log").open("a") as log:
        log.write(f"sfer-0002 {ShardProgress(5, 5, 0, 0, 4096, 4096).line()}\n")
    assert told.line(False).startswith("9/15 files, 6.0 KiB of 8.0 KiB (75 %)")


def test_that_nothing_can_be_told_harms_nothing(tmp_path: Path) -> None:
    progress = Progress(3, 1, 0, 10, 0.5, (), 0, 1, 3, False, 10, 30)
    reports = Reports(f"{tmp_path}/gone", "transfer-0001", {"_CONDOR_CHIRP_CONFIG": f"{tmp_path}/none"})
    reports.tick(progress)
    reports.tick(progress._replace(seconds=99.0))
    assert parsed("1,2,3") is None and parsed("<html>") is None
    assert parsed(ShardProgress(1, 3, 0, 0, 10, 30).line()) == ShardProgress(1, 3, 0, 0, 10, 30)
