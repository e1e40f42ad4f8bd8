"""Local directories: listed as ``cp -L`` reads them, removed without following a link."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.local.backend import Local
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    IsDirectory,
    NotFound,
    Permanent,
    TransferError,
)
from pegasus_toolkit.transfer.interface import Entry


def remove(path: Path | str, recursive: bool = False, home: str = "") -> None:
    """Removes one path; raises its error."""
    ((told, error),) = Local(home).remove([str(path)], recursive)
    assert told == str(path)
    if error is not None:
        raise error


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("d/a", "d/b/c", "d/b/d/e", "d/z", "outside/precious"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "d/empty/empty").mkdir(parents=True)
    return tmp_path


class TestList:
    def found(self, path: Path | str) -> list[tuple[str, int | None, bool]]:
        return [(e.path, e.size, e.directory) for e in Local().list(str(path))]

    def test_files_and_empty_directories(self, tree: Path) -> None:
        expected = [("a", 3, False), ("z", 3, False), ("b/c", 5, False), ("b/d/e", 7, False)]
        expected_all = [*expected, ("empty/empty", None, True)]
        assert self.found(tree / "d") == [(f"{tree}/d/{name}", size, d) for name, size, d in expected_all]
        assert self.found(f"{tree}/d/") == self.found(tree / "d")
        assert self.found(tree / "d/empty/empty") == []

    def test_what_goes_meanwhile_is_passed_over(self, tree: Path) -> None:
        found = Local().list(str(tree / "d"))
        assert next(found).path == f"{tree}/d/a"
        (tree / "d/z").unlink()
        assert [e.path for e in found] == [f"{tree}/d/{name}" for name in ("b/c", "b/d/e", "empty/empty")]

    def test_follows_links(self, tree: Path) -> None:
        (tree / "d/to-file").symlink_to("../outside/precious")
        (tree / "d/to-directory").symlink_to("../outside")
        (tree / "d/again").symlink_to("../outside")
        found = {path: size for path, size, _ in self.found(tree / "d")}
        for name in ("to-file", "to-directory/precious", "again/precious"):
            assert found[f"{tree}/d/{name}"] == len("outside/precious")

    def test_what_cannot_be_copied_is_told_not_hidden(self, tree: Path) -> None:
        (tree / "d/dangling").symlink_to("nowhere")
        (tree / "d/itself").symlink_to("itself")
        os.mkfifo(tree / "d/fifo")
        found = {path: (size, directory) for path, size, directory in self.found(tree / "d")}
        for name in ("dangling", "itself", "fifo"):
            assert found[f"{tree}/d/{name}"] == (None, False)

    def test_circle(self, tree: Path) -> None:
        (tree / "d/b/up").symlink_to("..")
        with pytest.raises(BadSpecification, match="circle"):
            self.found(tree / "d")

    def test_no_directory(self, tree: Path) -> None:
        for name in ("missing", "d/a", "d/a/x"):
            with pytest.raises(NotFound):
                self.found(tree / name)

    def test_names_of_any_bytes(self, tmp_path: Path) -> None:
        names = {"new\nline", "\udcff\udcfe", "-rf", "n" * 255}
        for name in names:
            (tmp_path / name).touch()
        assert {path for path, _, _ in self.found(tmp_path)} == {f"{tmp_path}/{name}" for name in names}

    def test_stat(self, tree: Path) -> None:
        os.mkfifo(tree / "fifo")
        assert Local().stat(f"{tree}/d").directory
        modified = (tree / "d/a").stat().st_mtime_ns
        assert Local().stat(f"{tree}/d/a") == Entry(f"{tree}/d/a", 3, False, None, modified)
        assert Local().stat(f"{tree}/fifo").size is None
        for path, kind in ((f"{tree}/missing", NotFound), (f"{tree}/nul\0", BadSpecification)):
            with pytest.raises(kind):
                Local().stat(path)


class TestRemove:
    def test_tree(self, tree: Path) -> None:
        (tree / "d/to-outside").symlink_to(tree / "outside")
        (tree / "d/b/to-file").symlink_to(tree / "outside/precious")
        remove(tree / "d", recursive=True)
        assert not (tree / "d").exists()
        assert (tree / "outside/precious").read_bytes() == b"outside/precious"

    @pytest.mark.parametrize("recursive", [False, True])
    @pytest.mark.parametrize("end", ["", "/"])
    def test_link_to_a_directory_goes_alone(self, tree: Path, recursive: bool, end: str) -> None:
        (tree / "link").symlink_to("outside")
        remove(f"{tree}/link{end}", recursive)
        assert not (tree / "link").is_symlink()
        assert (tree / "outside/precious").exists()

    def test_directory_needs_recursive(self, tree: Path) -> None:
        for name in ("d", "d/empty/empty"):
            with pytest.raises(IsDirectory, match="recursive"):
                remove(tree / name)
        assert (tree / "d/a").exists()

    @pytest.mark.parametrize("recursive", [False, True])
    def test_missing_is_removed(self, tree: Path, recursive: bool) -> None:
        for name in ("missing", "missing/x", "d/a/x", "d/empty/x/y"):
            remove(tree / name, recursive)

    @pytest.mark.parametrize("path", ["", "/", "//", ".", "..", "./", "d/.", "d/..", "/.", "/..", "../.."])
    def test_refused(self, tree: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
        """In a directory of its own, so that a fault here cannot cost more than that."""
        monkeypatch.setattr("shutil.rmtree", lambda *_, **__: pytest.fail("would have removed it"))
        monkeypatch.chdir(tree)
        with pytest.raises(Denied, match="refused"):
            remove(path, recursive=True)

    def test_home_is_refused(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.rmtree", lambda *_, **__: pytest.fail("would have removed it"))
        (tree / "way-home").symlink_to(tree / "d")
        for path in ("d/b", "d", "d/../d", "d/b/", "way-home/b"):
            with pytest.raises(Denied, match="home"):
                remove(tree / path, recursive=True, home=f"{tree}/way-home/b")

    def test_home_in_the_account_database_is_refused(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without ``HOME`` (cron, jobs), or with another one."""
        monkeypatch.setattr("shutil.rmtree", lambda *_, **__: pytest.fail("would have removed it"))
        fields = [*pwd.getpwuid(os.getuid())]
        fields[5] = f"{tree}/d/b"
        monkeypatch.setattr("pwd.getpwuid", lambda _: pwd.struct_passwd(fields))
        for path, home in (("d/b", ""), ("d", "/nonexistent"), ("d", f"{tree}/outside")):
            with pytest.raises(Denied, match="home"):
                remove(tree / path, recursive=True, home=home)

    def test_link_to_home_may_go(self, tree: Path) -> None:
        (tree / "link").symlink_to("d")
        remove(tree / "link", recursive=True, home=f"{tree}/d")
        assert (tree / "d/a").exists()

    def test_below_home_may_go(self, tree: Path) -> None:
        remove(tree / "d/b", recursive=True, home=f"{tree}/d")
        assert not (tree / "d/b").exists()
        assert (tree / "d/a").exists()

    def test_one_bad_path_does_not_stop_the_others(self, tree: Path) -> None:
        paths = [f"{tree}/d/a", f"{tree}/d", f"{tree}/nul\0", f"{tree}/d/z"]
        found = dict(Local().remove(iter(paths)))
        assert {path: type(error) for path, error in found.items()} == {
            paths[0]: type(None),
            paths[1]: IsDirectory,
            paths[2]: BadSpecification,
            paths[3]: type(None),
        }
        assert not (tree / "d/z").exists()


class TestMkdir:
    def test_parents(self, tmp_path: Path) -> None:
        Local().mkdir(f"{tmp_path}/a/b c/d")
        Local().mkdir(f"{tmp_path}/a/b c/d/")
        (tmp_path / "link").symlink_to("a")
        Local().mkdir(f"{tmp_path}/link")
        assert (tmp_path / "a/b c/d").is_dir()

    @pytest.mark.parametrize("name", ["file", "file/x", "dangling", "nul\0", "n" * 256])
    def test_in_the_way(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "file").touch()
        (tmp_path / "dangling").symlink_to("nowhere")
        with pytest.raises(Permanent) as caught:
            Local().mkdir(f"{tmp_path}/{name}")
        assert isinstance(caught.value, TransferError)
        assert caught.value.side == "destination"
