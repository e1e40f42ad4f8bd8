"""Ends that are local files: what is seen under the final name, and what stays behind."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Cancelled,
    Corrupted,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Control, Requirement
from pegasus_toolkit.transfer.notes import Notes
from pegasus_toolkit.transfer.streams.checked import BLOCK
from pegasus_toolkit.transfer.streams.files import FileSink, discard
from tests.material import content, sha256


def sink(path: Path | str, required: Requirement | None = None, run: str = "run") -> FileSink:
    return FileSink(str(path), required or Requirement(), Control(run))


def names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


class TestSink:
    def test_seen_only_after_commit(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "file")
        end.write(b"data")
        assert "file" not in names(tmp_path)
        assert end.commit() == sha256(b"data")
        assert names(tmp_path) == {"file"}
        assert (tmp_path / "file").read_bytes() == b"data"
        end.abort()
        assert names(tmp_path) == {"file"}

    def test_nothing_is_made_before_it_is_needed(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "d/file")
        end.announce(3)
        end.abort()
        assert names(tmp_path) == set()

    def test_empty_file(self, tmp_path: Path) -> None:
        assert sink(tmp_path / "d/e/file").commit() == sha256(b"")
        assert (tmp_path / "d/e/file").read_bytes() == b""

    def test_abort_leaves_nothing_and_the_old_content(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        end = sink(tmp_path / "file")
        end.write(b"new")
        end.abort()
        end.abort()
        assert names(tmp_path) == {"file"}
        assert (tmp_path / "file").read_bytes() == b"old"

    @pytest.mark.parametrize(
        "required", [Requirement("sha256", sha256(b"x")), Requirement("", "", 4), Requirement("", "", 2)]
    )
    def test_wrong_content_leaves_nothing(self, tmp_path: Path, required: Requirement) -> None:
        end = sink(tmp_path / "file", required)
        with pytest.raises(Corrupted):
            end.write(b"new")
            end.commit()
        end.abort()
        assert names(tmp_path) == set()

    def test_cancelled(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "file")
        end.write(b"some")
        end.check.control.stop = Cancelled("told to stop")
        with pytest.raises(Cancelled):
            end.write(b"more")
        end.abort()
        assert names(tmp_path) == set()

    def test_two_attempts_at_once(self, tmp_path: Path) -> None:
        one, two = sink(tmp_path / "file"), sink(tmp_path / "file")
        one.write(b"one")
        two.write(b"two")
        one.abort()
        two.commit()
        assert names(tmp_path) == {"file"}
        assert (tmp_path / "file").read_bytes() == b"two"

    @pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "🚀" * 63, "a\udcff\udcfe" * 85, "-f", "a\nb"])
    def test_names(self, tmp_path: Path, name: str) -> None:
        for end in (sink(f"{tmp_path}/{name}"), sink(f"{tmp_path}/{name}")):
            end.resume("validator")
            end.write(b"data")
            end.commit()
        assert os.listdir(tmp_path) == [name]

    def test_umask_and_mode(self, tmp_path: Path) -> None:
        old = os.umask(0o027)
        try:
            for resumed in (False, True):
                end = sink(tmp_path / "file")
                if resumed:
                    end.resume("v")
                end.write(b"x")
                end.commit()
                assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
                (tmp_path / "file").unlink()
        finally:
            os.umask(old)

    def test_file_system_without_modes_still_takes_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also in place of another, whose privacy is kept by the mode that the new one is made with."""

        def refuse(fd: int, mode: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "fchmod", refuse)
        (tmp_path / "file").touch(mode=0o600)
        end = sink(tmp_path / "file")
        end.write(b"new")
        end.commit()
        assert (tmp_path / "file").read_bytes() == b"new"
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600

    def test_replaced_file_keeps_its_mode(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        (tmp_path / "file").chmod(0o604)
        end = sink(tmp_path / "file")
        end.write(b"new")
        end.commit()
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604

    def test_link_is_replaced_and_its_target_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "archive").write_bytes(b"precious")
        (tmp_path / "file").symlink_to("archive")
        (tmp_path / "dangling").symlink_to("nowhere")
        for name in ("file", "dangling"):
            end = sink(tmp_path / name)
            end.write(b"new")
            end.commit()
            assert not (tmp_path / name).is_symlink()
        assert (tmp_path / "archive").read_bytes() == b"precious"
        assert names(tmp_path) == {"archive", "file", "dangling"}

    def test_character_device_is_written_to(self, tmp_path: Path) -> None:
        (tmp_path / "null").symlink_to("/dev/null")
        for path in (Path("/dev/null"), tmp_path / "null"):
            end = sink(path, Requirement("sha256", sha256(b"data"), 4))
            assert end.resume("v") == 0
            end.write(b"data")
            assert end.commit() == sha256(b"data")
            assert stat.S_ISCHR(path.stat().st_mode)
        assert names(tmp_path) == {"null"}

    def test_what_cannot_be_replaced_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "d").mkdir()
        (tmp_path / "to-d").symlink_to("d")
        bound = socket.socket(socket.AF_UNIX)
        bound.bind(str(tmp_path / "socket"))
        before = names(tmp_path)
        expected: dict[str, type[TransferError]] = {
            "fifo": Unsupported,
            "socket": Unsupported,
            "d": IsDirectory,
            "to-d": IsDirectory,
            "new/": IsDirectory,
            "d/.": IsDirectory,
            "nul\0": BadSpecification,
            "n" * 256: BadSpecification,
        }
        for name, kind in expected.items():
            end = sink(f"{tmp_path}/{name}")
            with pytest.raises(kind) as caught:
                end.write(b"data")
                end.commit()
            assert caught.value.side == "destination"
            end.abort()
        assert names(tmp_path) == before
        bound.close()

    def test_file_where_a_directory_is_wanted(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        for name in ("file/x", "file/x/y"):
            end = sink(tmp_path / name)
            with pytest.raises(Permanent):
                end.write(b"data")
            end.abort()
        assert (tmp_path / "file").read_bytes() == b"old"

    def test_filled_by_a_tool(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "d/file", Requirement("sha256", sha256(b"tool"), 4))
        assert end.file is not None
        Path(end.file).write_bytes(b"tool")
        assert end.commit() == sha256(b"tool")
        assert names(tmp_path / "d") == {"file"}

    @pytest.mark.parametrize("made", [b"wrong", None])
    def test_filled_wrongly_by_a_tool(self, tmp_path: Path, made: bytes | None) -> None:
        end = sink(tmp_path / "file", Requirement("sha256", sha256(b"tool")))
        assert end.file is not None
        if made is not None:
            Path(end.file).write_bytes(made)
        with pytest.raises(Corrupted if made else NotFound):
            end.commit()
        end.abort()
        assert names(tmp_path) == set()

    def test_remote_reads_back_what_is_on_the_disk(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "file", Requirement("sha256", "", None, remote=True))
        end.write(b"data")
        (written,) = tmp_path.iterdir()
        written.write_bytes(b"dust")
        with pytest.raises(Corrupted):
            end.commit()
        end.abort()
        assert names(tmp_path) == set()


class TestResume:
    def setup_method(self) -> None:
        self.notes = Notes()  # those of one run

    def sink(self, path: Path, required: Requirement | None = None, run: str = "run") -> FileSink:
        return FileSink(str(path), required or Requirement(), Control(run, notes=self.notes))

    def first(self, path: Path, data: bytes, validator: str = "v") -> FileSink:
        end = self.sink(path)
        assert end.resume(validator) == 0
        end.write(data)
        end.abort()
        return end

    def test_goes_on_where_it_ended(self, tmp_path: Path) -> None:
        data = content(3 * BLOCK + 7)
        first = self.first(tmp_path / "file", data[: 2 * BLOCK])
        assert names(tmp_path) == {Path(first.partial).name}
        control = Control("another")
        control.notes = self.notes
        end = FileSink(str(tmp_path / "file"), Requirement("sha256", sha256(data), len(data)), control)
        assert end.resume("v") == end.size == 2 * BLOCK
        assert control.bytes == 0
        end.write(data[2 * BLOCK :])
        assert end.commit() == sha256(data)
        assert control.bytes == BLOCK + 7
        assert end.partial == ""
        assert names(tmp_path) == {"file"}
        assert (tmp_path / "file").read_bytes() == data

    def test_other_content_begins_anew(self, tmp_path: Path) -> None:
        first = self.first(tmp_path / "file", b"old content", "etag 1")
        end = sink(tmp_path / "file")
        assert end.resume("etag 2") == 0
        end.write(b"new")
        assert end.commit() == sha256(b"new")
        discard([first.partial])
        assert names(tmp_path) == {"file"}

    def test_restart_forgets(self, tmp_path: Path) -> None:
        self.first(tmp_path / "file", b"a long beginning")
        end = self.sink(tmp_path / "file")
        assert end.resume("v") == 16
        end.restart()
        assert end.size == 0
        end.write(b"short")
        assert end.commit() == sha256(b"short")
        assert (tmp_path / "file").read_bytes() == b"short"

    def test_what_another_run_left_is_not_adopted(self, tmp_path: Path) -> None:
        """Its bytes may have been lost with its machine, and nothing here would tell."""
        data = content(BLOCK)
        Path(self.first(tmp_path / "file", data[:1000]).partial).write_bytes(bytes(1000))
        end = sink(tmp_path / "file")
        assert end.resume("v") == 0
        end.write(data)
        assert end.commit() == sha256(data)
        assert (tmp_path / "file").read_bytes() == data

    def test_a_known_digest_decides(self, tmp_path: Path) -> None:
        Path(self.first(tmp_path / "file", b"begin").partial).write_bytes(bytes(5))
        end = self.sink(tmp_path / "file")
        end.expect("md5", "0" * 32)
        assert end.resume("v") == 5
        with pytest.raises(Corrupted):
            end.commit()
        end.abort()
        assert names(tmp_path) == set()

    def test_wrong_content_is_not_kept(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "file", Requirement("sha256", sha256(b"right")))
        end.resume("v")
        end.write(b"wrong")
        with pytest.raises(Corrupted):
            end.commit()
        end.abort()
        assert end.partial == ""
        assert names(tmp_path) == set()

    def test_nothing_written_is_not_kept(self, tmp_path: Path) -> None:
        end = sink(tmp_path / "file")
        end.resume("v")
        end.abort()
        assert names(tmp_path) == set()
        assert end.partial == ""

    def test_longer_than_expected_begins_anew(self, tmp_path: Path) -> None:
        self.first(tmp_path / "file", b"too long")
        end = self.sink(tmp_path / "file", Requirement("sha256", sha256(b"short"), 5))
        assert end.resume("v") == 0
        end.write(b"short")
        end.commit()
        assert (tmp_path / "file").read_bytes() == b"short"

    def test_two_runs_never_share(self, tmp_path: Path) -> None:
        self.first(tmp_path / "file", b"begin")
        one, two = self.sink(tmp_path / "file"), self.sink(tmp_path / "file", run="other")
        assert (one.resume("v"), two.resume("v")) == (5, 0)
        assert (bool(one.partial), two.partial) == (True, "")
        two.write(b"two")
        one.write(b" one")
        two.commit()
        assert (tmp_path / "file").read_bytes() == b"two"
        one.commit()
        assert (tmp_path / "file").read_bytes() == b"begin one"
        assert names(tmp_path) == {"file"}

    def test_partial_in_use_is_not_discarded(self, tmp_path: Path) -> None:
        first = self.first(tmp_path / "file", b"begin")
        with Path(first.partial).open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            discard([first.partial])
            assert Path(first.partial).exists()
        discard([first.partial])
        discard([first.partial])
        assert names(tmp_path) == set()

    @pytest.mark.parametrize("keep", [False, True])
    def test_run_knows_what_to_discard(self, tmp_path: Path, keep: bool) -> None:
        control = Control("run", keep_partial=keep)
        for end in (
            FileSink(f"{tmp_path}/{name}", Requirement(), control) for name in ("kept", "done", "none", "bad")
        ):
            end.resume("v")
            if not end.path.endswith("none"):
                end.write(b"data")
            if end.path.endswith("done"):
                end.commit()
            if end.path.endswith("bad"):
                end.check.required = Requirement("sha256", sha256(b"other"))
                with pytest.raises(Corrupted):
                    end.commit()
            end.abort()
        assert {Path(path).name[:5] for path in control.partials} == (set() if keep else {".kept"})
        discard(control.partials)
        assert {name[:5] for name in names(tmp_path)} == ({"done", ".kept"} if keep else {"done"})

    def test_planted_partial_is_not_trusted(self, tmp_path: Path) -> None:
        """A link, a hard link or a FIFO under the partial's name: the file is written without it."""
        partial = Path(self.first(tmp_path / "file", b"x").partial)
        victim = tmp_path / "victim"
        victim.write_bytes(b"victim")
        for plant in (
            lambda: partial.symlink_to(victim),
            lambda: partial.hardlink_to(victim),
            lambda: os.mkfifo(partial),
        ):
            partial.unlink()
            plant()
            end = self.sink(tmp_path / "file")
            assert end.resume("v") == 0
            end.write(b"data")
            end.commit()
            assert (tmp_path / "file").read_bytes() == b"data"
            assert not (tmp_path / "file").is_symlink()
            assert victim.read_bytes() == b"victim"
