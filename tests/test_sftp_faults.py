"""SFTP when something goes wrong in the middle: cuts, full disks, files that change, odd servers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.ssh.backend import Sftp
from pegasus_toolkit.transfer.clients.sftp.wire import COPY_DATA, LIMITS, POSIX_RENAME, STATVFS
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    Permanent,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Backend, Control, Endpoint, Requirement, Settings
from pegasus_toolkit.transfer.notes import Notes
from pegasus_toolkit.transfer.streams.checked import BLOCK
from pegasus_toolkit.transfer.streams.files import FileSink, FileSource, discard
from tests.conformance import WritableSuite
from tests.material import (
    Calling,
    CallingSource,
    content,
    fetch_job,
    given,
    settle,
    sha256,
    store_job,
)
from tests.servers.sshd import Sshd, children, serving
from tests.test_sftp import Area, credentials

LARGE = 48 * BLOCK


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Sshd]:
    """A server that a test may kill."""
    home = tmp_path / "server"
    home.mkdir()
    with serving(home) as server:
        yield server


def connect(server: Sshd, tmp_path: Path, stall: float = 20) -> Sftp:
    section = f"private_key = {server.key}\nknown_hosts = {server.known_hosts}"
    settings = Settings(
        credentials(tmp_path, server, section), {"PATH": os.environ["PATH"]}, stall_timeout=stall
    )
    backend = open_backend(Endpoint("scp", server.authority, "here"), settings)
    assert isinstance(backend, Sftp)
    return backend


@pytest.fixture
def backend(sshd: Sshd, tmp_path: Path) -> Iterator[Sftp]:
    backend = connect(sshd, tmp_path)
    yield backend
    backend.close()


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# -- connections that break ---------------------------------------------------------------------------


def test_a_get_that_is_cut_is_the_servers_fault_and_commits_nothing(own: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content(LARGE))
    backend = connect(own, tmp_path)
    jobs = [fetch_job(str(file), Calling(own.cut))]
    with pytest.raises(ServerFault):
        list(backend.get(iter(jobs)))
    backend.close()
    again = connect(own, tmp_path)
    (job,) = again.get(iter([fetch_job(str(file))]))
    assert settle(job) == content(LARGE)
    again.close()


def test_a_put_that_is_cut_keeps_the_old_file_and_leaves_nothing(own: Sshd, tmp_path: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    (area / "file").write_bytes(b"old")
    backend = connect(own, tmp_path)

    class Cutting(CallingSource):
        def readinto(self, view: memoryview) -> int:
            if self.count > LARGE // 2:
                return super().readinto(view)
            return self.inner_readinto(view)

        def inner_readinto(self, view: memoryview) -> int:
            n = self.inner.readinto(view)
            self.count += n
            return n

    job = store_job(str(area / "file"), Cutting(given(content(LARGE)), own.cut))
    with pytest.raises(ServerFault):
        list(backend.put(iter([job])))
    backend.close()
    assert (area / "file").read_bytes() == b"old"
    assert names(area) == {"file"}, "what stood aside was removed over another connection"


def test_a_server_that_is_gone_cannot_be_reached_again(tmp_path: Path) -> None:
    home = tmp_path / "server"
    home.mkdir()
    with serving(home) as server:
        backend = connect(server, tmp_path)
        assert backend.stat("/").directory
        server.cut()
        os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(TransferError):
        backend.stat("/")
    with pytest.raises(Unreachable):
        backend.stat("/")
    backend.close()


def stop(server: Sshd) -> None:
    """Every session falls silent, for good."""
    for pid in server.sessions():
        for one in (pid, *children(pid)):
            os.kill(one, signal.SIGSTOP)


def test_a_server_that_falls_silent_times_out(own: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(content(LARGE))
    backend = connect(own, tmp_path, stall=0.5)
    with pytest.raises(TimedOut):
        list(backend.get(iter([fetch_job(str(file), Calling(lambda: stop(own)))])))
    backend.close()


@pytest.mark.parametrize("verb", ["get", "put", "stat"])
def test_close_ends_what_waits_for_a_silent_server(own: Sshd, tmp_path: Path, verb: str) -> None:
    backend = connect(own, tmp_path, stall=60)
    file = tmp_path / "file"
    file.write_bytes(content(LARGE))
    assert backend.stat(str(file)).size == LARGE
    stop(own)
    raised: list[BaseException] = []
    work: dict[str, Callable[[], object]] = {
        "get": lambda: list(backend.get(iter([fetch_job(str(file))]))),
        "put": lambda: list(backend.put(iter([store_job(str(tmp_path / "new"), given(content(LARGE)))]))),
        "stat": lambda: backend.stat("/"),
    }

    def blocked() -> None:
        try:
            work[verb]()
        except TransferError as error:
            raised.append(error)

    thread = threading.Thread(target=blocked)
    thread.start()
    while not backend.client.active:
        thread.join(0.01)
    backend.close()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(raised[0], Cancelled)
    assert not (tmp_path / "new").exists()


def test_what_is_resumed_is_whole(own: Sshd, tmp_path: Path) -> None:
    data = content(LARGE)
    file, here = tmp_path / "file", tmp_path / "here"
    file.write_bytes(data)
    os.utime(file, (1e9, 1e9))
    required = Requirement("sha256", sha256(data), LARGE)
    notes = Notes()
    first = FileSink(str(here), required, Control(notes=notes))

    class Cut(Calling):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            first.write(data)
            if first.size > LARGE // 3 and self.hook is not None:
                self.hook, hook = None, self.hook
                hook()

        def resume(self, validator: str) -> int:
            return first.resume(validator)

    backend = connect(own, tmp_path)
    with pytest.raises(ServerFault):
        list(backend.get(iter([fetch_job(str(file), Cut(own.cut), required)])))
    backend.close()
    first.abort()
    control = Control(notes=notes)
    second = FileSink(str(here), required, control)
    again = connect(own, tmp_path)
    (job,) = again.get(iter([fetch_job(str(file), second, required)]))
    again.close()
    assert job.error is None
    assert second.commit() == sha256(data)
    assert here.read_bytes() == data
    assert 0 < control.bytes < LARGE, "the kept part came once only"
    discard(first.partial)


# -- files that are not what they seem --------------------------------------------------------------


@pytest.mark.parametrize("change", ["grow", "shrink"])
def test_a_file_that_changes_while_it_is_read_is_corrupted(
    backend: Sftp, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content(LARGE))

    def strike() -> None:
        with file.open("r+b") as out:
            if change == "grow":
                out.seek(0, os.SEEK_END)
                out.write(b"more")
            else:
                out.truncate(LARGE // 2)

    (job,) = backend.get(iter([fetch_job(str(file), Calling(strike))]))
    assert isinstance(job.error, Corrupted)


def test_what_is_no_regular_file_is_refused_at_once(backend: Sftp, tmp_path: Path) -> None:
    fifo, directory = tmp_path / "fifo", tmp_path / "directory"
    os.mkfifo(fifo)
    directory.mkdir()
    (directory / "x").write_bytes(b"x")
    (tmp_path / "good").write_bytes(b"good")
    jobs = [fetch_job(str(path)) for path in (fifo, directory, "/dev/zero", tmp_path / "good")]
    over = {job.path: job.error for job in backend.get(iter(jobs))}
    assert isinstance(over[str(fifo)], Unsupported)
    assert isinstance(over[str(directory)], IsDirectory)
    assert isinstance(over["/dev/zero"], Unsupported)
    assert over[str(tmp_path / "good")] is None
    puts = [store_job(str(path), given(b"data")) for path in (fifo, directory, f"{tmp_path}/new/")]
    errors = {job.path: job.error for job in backend.put(iter(puts))}
    assert isinstance(errors[str(fifo)], Unsupported)
    assert isinstance(errors[str(directory)], IsDirectory)
    assert isinstance(errors[f"{tmp_path}/new/"], IsDirectory)
    assert names(tmp_path) >= {"fifo", "directory", "good"}
    assert not any(name.endswith(".part") for name in names(tmp_path))


def test_a_file_in_the_way_of_a_directory(backend: Sftp, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (job,) = backend.put(iter([store_job(f"{tmp_path}/file/below", given(b"data"))]))
    assert isinstance(job.error, TransferError)
    with pytest.raises(Permanent):
        backend.mkdir(f"{tmp_path}/file")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_modes_are_those_of_the_source_or_of_what_is_replaced(backend: Sftp, tmp_path: Path) -> None:
    program, private = tmp_path / "program", tmp_path / "private"
    program.write_bytes(b"#!")
    program.chmod(0o755)
    private.write_bytes(b"old")
    private.chmod(0o600)
    jobs = [
        store_job(f"{tmp_path}/{name}", FileSource(str(program), Requirement(), Control()))
        for name in ("new", "private")
    ]
    assert [job.error for job in backend.put(iter(jobs))] == [None, None]
    for job in jobs:
        job.end.close()
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_bytes() == b"#!"


def test_links_are_followed_when_listed_and_not_when_removed(backend: Sftp, tmp_path: Path) -> None:
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / "empty").mkdir(parents=True)
    other.mkdir()
    (other / "kept").write_bytes(b"12")
    (tree / "link").symlink_to(other)
    (tree / "file").symlink_to(other / "kept")
    (tree / "dangling").symlink_to(tmp_path / "nothing")
    found = {entry.path: (entry.size, entry.directory) for entry in backend.list(str(tree))}
    assert found == {
        f"{tree}/empty": (None, True),
        f"{tree}/link/kept": (2, False),
        f"{tree}/file": (2, False),
        f"{tree}/dangling": (None, False),
    }
    (tree / "empty" / "up").symlink_to(tree)
    with pytest.raises(TransferError, match="circle"):
        list(backend.list(str(tree)))
    assert list(backend.remove([str(tree)], recursive=True)) == [(str(tree), None)]
    assert not tree.exists() and (other / "kept").read_bytes() == b"12"


@pytest.mark.parametrize("path", ["/", "", "/tmp/..", "/."])
def test_nobody_means_to_remove_the_root(backend: Sftp, path: str) -> None:
    ((_, error),) = backend.remove([path], recursive=True)
    assert isinstance(error, Denied)


def test_a_name_that_is_too_long_fails_alone(backend: Sftp, tmp_path: Path) -> None:
    jobs = [store_job(f"{tmp_path}/{name}", given(b"x")) for name in ("y" * 255, "y" * 256, "é" * 127)]
    errors = [job.error for job in backend.put(iter(jobs))]
    assert sum(error is None for error in errors) == 2
    assert jobs[1].error is not None and not jobs[1].error.retryable


# -- odd servers --------------------------------------------------------------------------------------


def test_a_full_disk_on_the_server_is_no_space(tmp_path: Path) -> None:
    home, disk = tmp_path / "server", tmp_path / "disk"
    home.mkdir()
    disk.mkdir()
    with serving(home, before=f"mount -t tmpfs -o size=2m none '{disk}'") as server:
        there = Path(f"/proc/{server.pid}/root{disk}")
        backend = connect(server, tmp_path)
        (job,) = backend.put(iter([store_job(f"{disk}/file", given(b"old"))]))
        assert job.error is None
        over = list(backend.put(iter([store_job(f"{disk}/file", given(content(5 * BLOCK)))])))
        assert isinstance(over[0].error, NoSpace)
        assert names(there) == {"file"}
        assert (there / "file").read_bytes() == b"old"
        backend.close()


def test_a_server_that_may_only_be_read(tmp_path: Path) -> None:
    home, area = tmp_path / "server", tmp_path / "area"
    home.mkdir()
    area.mkdir()
    (area / "file").write_bytes(b"old")
    with serving(home, subsystem="internal-sftp -R") as server:
        backend = connect(server, tmp_path)
        (job,) = backend.put(iter([store_job(f"{area}/file", given(b"new"))]))
        assert isinstance(job.error, Denied) and not job.error.retryable
        ((_, error),) = backend.remove([f"{area}/file"])
        assert isinstance(error, Denied)
        with pytest.raises(Denied):
            backend.mkdir(f"{area}/new")
        backend.close()
    assert (area / "file").read_bytes() == b"old"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """As a server of another make: no atomic rename over a file, no limits told, no copies, no shell."""
    command = "internal-sftp -P posix-rename,limits,statvfs,copy-data"
    with serving(tmp_path_factory.mktemp("plain"), more=f"ForceCommand {command}") as server:
        yield server


class TestPlainServer(Area, WritableSuite):
    """Version 3 of the protocol and nothing else."""

    @pytest.fixture(autouse=True)
    def other(self, plain: Sshd, area: None) -> None:
        self.server = plain

    def test_it_is_as_plain_as_it_should_be(self, backend: Backend) -> None:
        backend.stat("/")
        assert isinstance(backend, Sftp) and backend.client.session is not None
        assert not backend.client.session.offers.keys() & {POSIX_RENAME, LIMITS, STATVFS, COPY_DATA}
        assert backend.client.session.limits.write == 32768


def test_errors_name_the_file_and_the_host_and_nothing_more(backend: Sftp, sshd: Sshd) -> None:
    with pytest.raises(NotFound) as caught:
        backend.stat("/no/such/file")
    assert str(caught.value) == (f"no such file or directory: scp://{sshd.authority}/no/such/file")


# -- what a refusal must not cost ------------------------------------------------------------------------


def test_a_server_that_sets_no_mode_bits_still_replaces_files(tmp_path: Path) -> None:
    home, area = tmp_path / "server", tmp_path / "area"
    home.mkdir()
    area.mkdir()
    (area / "file").write_bytes(b"old")
    with serving(home, subsystem="internal-sftp -P setstat,fsetstat") as server:
        backend = connect(server, tmp_path)
        (job,) = backend.put(iter([store_job(f"{area}/file", given(b"new"))]))
        backend.close()
    assert job.error is None
    assert (area / "file").read_bytes() == b"new" and names(area) == {"file"}


@pytest.mark.parametrize("rename", ["posix-rename", "posix-rename,rename"])
def test_a_rename_that_is_refused_keeps_the_old_file(tmp_path: Path, rename: str) -> None:
    """With no rename over another file the old one is set aside; with none at all it stays."""
    home, area = tmp_path / "server", tmp_path / "area"
    home.mkdir()
    area.mkdir()
    (area / "file").write_bytes(b"old")
    with serving(home, subsystem=f"internal-sftp -P {rename}") as server:
        backend = connect(server, tmp_path)
        (job,) = backend.put(iter([store_job(f"{area}/file", given(b"new"))]))
        backend.close()
    assert (job.error is None) == (rename == "posix-rename")
    assert (area / "file").read_bytes() == (b"new" if job.error is None else b"old")
    assert names(area) == {"file"}


@pytest.mark.parametrize("size", [100, 3 * BLOCK])
def test_what_the_server_stores_wrongly_is_never_seen(backend: Sftp, tmp_path: Path, size: int) -> None:
    """Proven under its name aside: somebody changes that file between its last write and the proof."""
    area = tmp_path / "area"
    area.mkdir()
    (area / "file").write_bytes(b"old")
    required = Requirement("sha256", "", size, remote=True)
    digest = backend.files.digest

    def spoilt(path: str, algorithm: str) -> Iterator[object]:
        with open(path, "r+b") as file:  # noqa: PTH123
            file.write(b"?????")
        return digest(path, algorithm)

    backend.files.digest = spoilt  # type: ignore[assignment,method-assign]
    (job,) = backend.put(iter([store_job(f"{area}/file", given(content(size), required), required)]))
    assert isinstance(job.error, Corrupted)
    assert (area / "file").read_bytes() == b"old" and names(area) == {"file"}


def test_a_directory_that_may_not_be_read_fails_when_all_else_was_listed(sshd: Sshd, tmp_path: Path) -> None:
    """One link in a circle beside good files: those are told."""
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "file").write_bytes(b"1")
    (tree / "d" / "up").symlink_to(tree)
    backend = connect(sshd, tmp_path)
    found = []
    with pytest.raises(TransferError, match="circle"):
        for entry in backend.list(str(tree)):
            found.append(entry.path)
    backend.close()
    assert found == [f"{tree}/file"]


def test_a_link_to_a_directory_is_removed_alone(backend: Sftp, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "file").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert list(backend.remove([f"{tmp_path}/link"], recursive=True)) == [(f"{tmp_path}/link", None)]
    assert not (tmp_path / "link").is_symlink() and (tmp_path / "d" / "file").read_bytes() == b"kept"
