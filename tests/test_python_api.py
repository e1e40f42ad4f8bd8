"""``pegasus_toolkit.copy``, ``sync``, ``verify``, ``ls``: what a script calls."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pegasus_toolkit as pt
from tests.servers.sshd import Sshd
from tests.test_cli_plain import server, tree

FILES = {"a.txt": "alpha", "d/b.txt": "beta", "d/e/c.dat": "gamma"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_text(content)
    return tmp_path / "in"


def test_there_and_back(tmp_path: Path, source: Path, sshd: Sshd) -> None:
    base, environ = server(sshd, tmp_path)
    seen: list[pt.Outcome] = []
    progress: list[pt.Progress] = []
    up = pt.copy(f"{source}/", f"{base}/x", each=seen.append, progress=progress.append, environ=environ)
    assert (up.files, up.bytes, up.failed) == (3, 14, ())
    assert len(seen) == 3 and progress[-1].bytes == 14
    verdict = pt.verify(source, f"{base}/x", environ=environ)
    assert verdict.files == 3
    assert [one.name for one in pt.ls(f"{base}/x", environ=environ)] == ["a.txt", "d"]
    found = {one.name: one for one in pt.ls(f"{base}/x", recursive=True, environ=environ)}
    assert set(found) == set(FILES) and found["a.txt"].url == f"{base}/x/a.txt"
    assert found["a.txt"].size == 5 and found["a.txt"].modified == int((source / "a.txt").stat().st_mtime)
    down = pt.sync(f"{base}/x", tmp_path / "back", exclude=["*.dat"], environ=environ)
    assert (down.files, down.unchanged) == (2, 0)
    assert set(tree(tmp_path / "back")) == {"a.txt", "d/b.txt"}
    (source / "a.txt").unlink()
    again = pt.sync(source, f"{base}/x", delete=True, environ=environ)
    assert (again.files, again.unchanged, again.removed) == (0, 2, 1)


def test_several_sources_and_a_wildcard(tmp_path: Path, source: Path) -> None:
    assert pt.copy([source / "a.txt", f"{source}/d/*.txt"], f"{tmp_path}/out/").files == 2
    assert set(tree(tmp_path / "out")) == {"a.txt", "b.txt"}


def test_what_cannot_be_meant(tmp_path: Path, source: Path) -> None:
    with pytest.raises(pt.NotFound, match="none"):
        pt.copy(source / "none", tmp_path / "out")
    for call in (
        lambda: pt.copy(source, source / "d/x"),
        lambda: pt.copy(source / "*.none", tmp_path / "out"),
        lambda: pt.sync(tmp_path / "empty", tmp_path / "out", delete=True),
        lambda: pt.copy(source, tmp_path / "out", include=["[a"]),
        lambda: pt.verify(against=tmp_path / "none"),
        lambda: pt.copy(source, tmp_path / "out", links="no"),  # type: ignore[arg-type]
        lambda: pt.ls(source, links="no"),  # type: ignore[arg-type]
        lambda: pt.copy(source, tmp_path / "out", digest="md4"),  # type: ignore[arg-type]
        lambda: pt.copy(source, tmp_path / "out", bandwidth="10M"),  # type: ignore[arg-type]
        lambda: pt.sync(source, tmp_path / "out", threads=0),
        lambda: pt.sync(source, tmp_path / "out", patience=-1),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(pt.BadSpecification):
            call()
    with pytest.raises(pt.Unreachable):
        pt.ls("sftp://127.0.0.1:1/x")
    with pytest.raises(TypeError):
        pt.verify(source)
    assert not (tmp_path / "out").exists()


def test_one_pattern_is_no_list_of_letters(tmp_path: Path, source: Path) -> None:
    """The letters of ``*.txt`` would be patterns, ``*`` among them."""
    assert pt.copy(source, tmp_path / "out", include="*.txt").files == 2
    assert pt.copy(source, tmp_path / "other", exclude="*.txt").files == 1
    assert [one.name for one in pt.ls(source, recursive=True, include="*.dat")] == ["d/e/c.dat"]
    assert pt.verify(source, tmp_path / "other", include="*.dat").files == 1


def test_failures_carry_outcomes(tmp_path: Path, source: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/d").write_text("in the way of a directory")
    with pytest.raises(pt.TransfersFailed, match=r"2 files failed, such as: .*out/d") as caught:
        pt.copy(f"{source}/", tmp_path / "out", attempts=1)
    error = caught.value
    assert error.result.files == 1 and not error.retryable
    assert {outcome.operation.destinations[0].path for outcome in error.outcomes} == {
        f"{tmp_path}/out/d/b.txt",
        f"{tmp_path}/out/d/e/c.dat",
    }
    assert all(isinstance(outcome.error, pt.TransferError) for outcome in error.outcomes)


def test_differences(tmp_path: Path, source: Path) -> None:
    pt.copy(source, tmp_path / "out")
    (tmp_path / "out/a.txt").write_text("ALPHA")
    (tmp_path / "out/new").touch()
    with pytest.raises(pt.VerificationFailed, match=r"2 differences, such as: differs a\.txt") as caught:
        pt.verify(source, tmp_path / "out")
    assert [(one.kind, one.name) for one in caught.value.differences] == [
        ("differs", "a.txt"),
        ("extra", "new"),
    ]
    with pytest.raises(pt.VerificationFailed, match="1 difference,"):
        pt.verify(source, tmp_path / "out", one_way=True)


def test_what_is_no_file_is_told(tmp_path: Path, source: Path) -> None:
    (source / "out").symlink_to("/etc/passwd")
    assert pt.copy(source, tmp_path / "x").skipped == (("in/out", "a link that leads out of the directory"),)
    pt.copy(source, tmp_path / "y", links="copy")
    assert (tmp_path / "y/out").readlink() == Path("/etc/passwd")


def test_a_function_of_the_caller_that_fails_ends_the_call(tmp_path: Path, source: Path) -> None:
    def each(outcome: pt.Outcome) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pt.copy(source, tmp_path / "out", each=each)


def test_async(tmp_path: Path, source: Path) -> None:
    async def all_of_it() -> None:
        out = f"{tmp_path}/out"
        copied, _ = await asyncio.gather(pt.copy_async(source, out), pt.copy_async(source, f"{out}2"))
        assert copied.files == 3
        assert (await pt.sync_async(source, out)).unchanged == 3
        assert (await pt.verify_async(source, out)).files == 3
        assert len(await pt.ls_async(out)) == 2

    asyncio.run(all_of_it())


def test_a_cancelled_task_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))

    async def cancelled() -> None:
        began = asyncio.Event()
        loop = asyncio.get_running_loop()

        def progress(told: pt.Progress) -> None:
            if told.bytes:
                loop.call_soon_threadsafe(began.set)

        copying = pt.copy_async(tmp_path / "large", tmp_path / "out", bandwidth=1 << 20, progress=progress)
        task = asyncio.create_task(copying)
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert [path.name for path in tmp_path.iterdir()] == ["large"]


SCRIPT = """\
import sys, pegasus_toolkit as pt
def progress(told):
    if told.bytes:
        print("under way", flush=True)
try:
    pt.copy(sys.argv[1], sys.argv[2], bandwidth=1 << 20, progress=progress)
except KeyboardInterrupt:
    print("interrupted")
    raise SystemExit(3)
"""


def test_ctrl_c_in_a_script_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(8 << 20))
    argv = [sys.executable, "-c", SCRIPT, str(tmp_path / "large"), str(tmp_path / "out")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as script:
        assert script.stdout is not None
        assert script.stdout.readline() == "under way\n"
        began = time.monotonic()
        script.send_signal(signal.SIGINT)
        rest = script.stdout.read()
        assert script.wait() == 3, rest
        assert time.monotonic() - began < 30
    assert rest.endswith("interrupted\n")
    assert os.listdir(tmp_path) == ["large"]


def test_everything_is_public_and_nothing_is_imported_before_it_is_used() -> None:
    check = "import sys, pegasus_toolkit; sys.exit(any(m[:16] == 'pegasus_toolkit.' for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
    for name in pt.__all__:
        found = getattr(pt, name)
        assert name == "__version__" or found.__doc__, name
    assert {"copy", "sync", "verify", "ls"} <= set(dir(pt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pt.nothing
