"""SFTP below the whole engine: uploads, downloads, copies by the server, digests that it tells."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.cli.preconnect import Preconnect
from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.ssh.backend import Sftp, open_backend
from pegasus_toolkit.transfer.backends.ssh.files import WORTH_A_COMMAND
from pegasus_toolkit.transfer.clients.sftp.program import Child
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.errors import Corrupted, Denied, NotFound
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings
from pegasus_toolkit.transfer.model import Checksum, Operation
from pegasus_toolkit.transfer.observer import Summary
from tests.material import AWKWARD, content, sha256
from tests.servers.sshd import Sshd, serving
from tests.test_sftp_faults import connect, names
from tests.worlds import Recorder, mkdir, move, remove


class Site:
    """The server as a site, and an area there."""

    def __init__(self, server: Sshd, area: Path, more: str = "") -> None:
        self.server = server
        self.area = area
        self.credentials = area.parent / "credentials.conf"
        self.credentials.touch(mode=0o600)
        section = f"private_key = {server.key}\nknown_hosts = {server.known_hosts}\n{more}"
        self.credentials.write_text(f"[127.0.0.1:{server.port}]\n{section}\n")

    def url(self, path: Path | str, scheme: str = "scp") -> str:
        return f"{scheme}://{self.server.authority}{path}"

    def run(self, *operations: Operation, **options: Any) -> tuple[Summary, Recorder]:
        environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(self.credentials)}
        settings = Settings(Credentials.load(environ), environ, stall_timeout=20)
        recorder = Recorder()
        chosen = Options(**{"first_delay": 0.01, **options})
        return Engine(chosen, settings, [recorder]).run(operations), recorder


@pytest.fixture
def site(sshd: Sshd, tmp_path: Path) -> Iterator[Site]:
    area = tmp_path / "area"
    area.mkdir()
    yield Site(sshd, area)


def test_up_and_down_and_away_again(site: Site, tmp_path: Path) -> None:
    made = {f"d{n % 5}/file{n}": content(1000 + n, n) for n in range(300)}
    for name, data in made.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(data)
    up = [
        move(n, f"file://{tmp_path}/from/{name}", site.url(site.area / name)) for n, name in enumerate(made)
    ]
    summary, told = site.run(*up)
    assert (summary.done, summary.exit_code) == (300, 0)
    assert all(told.of(n).digest == sha256(data) for n, data in enumerate(made.values()))
    down = [
        move(n, site.url(site.area / name, "sftp"), f"file://{tmp_path}/to/{name}")
        for n, name in enumerate(made)
    ]
    summary, told = site.run(*down)
    assert (summary.done, summary.exit_code) == (300, 0)
    assert {name: (tmp_path / "to" / name).read_bytes() for name in made} == made
    summary, _ = site.run(
        mkdir(1, site.url(site.area / "new/er")), remove(2, site.url(site.area / "d0"), True)
    )
    assert summary.exit_code == 0
    assert names(site.area) == {"d1", "d2", "d3", "d4", "new"}


def test_files_keep_their_mode_bits(site: Site, tmp_path: Path) -> None:
    modes = {"program": 0o755, "private": 0o600, "fixed": 0o444}
    for name, mode in modes.items():
        (tmp_path / name).write_bytes(name.encode())
        (tmp_path / name).chmod(mode)
    up = [move(n, f"file://{tmp_path}/{name}", site.url(site.area / name)) for n, name in enumerate(modes)]
    down = [
        move(n, site.url(site.area / name), f"file://{tmp_path}/to/{name}") for n, name in enumerate(modes)
    ]
    assert site.run(*up)[0].exit_code == site.run(*down)[0].exit_code == 0
    umask = os.umask(0)
    os.umask(umask)
    for place in (site.area, tmp_path / "to"):
        assert {n: (place / n).stat().st_mode & 0o777 for n in modes} == {
            name: mode & ~umask for name, mode in modes.items()
        }


def test_many_directories_that_are_missing(site: Site, tmp_path: Path) -> None:
    made = {f"a/{n % 7}/{n % 90}/{n % 200}/file{n}": content(100 + n, n) for n in range(600)}
    for name, data in made.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_bytes(data)
    up = [
        move(n, f"file://{tmp_path}/from/{name}", site.url(site.area / name)) for n, name in enumerate(made)
    ]
    for _ in range(2):  # the second time all of it stands there
        summary, told = site.run(*up)
        assert (summary.done, summary.attempts, summary.exit_code) == (600, 600, 0), told.outcomes
        assert {name: (site.area / name).read_bytes() for name in made} == made
        assert sum(1 for path in site.area.rglob("*") if path.is_file()) == 600


def test_a_directory(site: Site, tmp_path: Path) -> None:
    for n in range(20):
        path = site.area / "tree" / f"d{n % 3}" / f"f{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(n))
    summary, _ = site.run(move(1, site.url(site.area / "tree"), f"file://{tmp_path}/copy"))
    assert summary.exit_code == 0
    assert (tmp_path / "copy" / "d1" / "f1").read_bytes() == content(1)
    assert sum(path.is_file() for path in (tmp_path / "copy").rglob("*")) == 20


@pytest.mark.parametrize("size", [0, 5000, WORTH_A_COMMAND + 1])
def test_a_copy_within_the_server_stays_there(site: Site, size: int) -> None:
    data = content(size)
    (site.area / "from file").write_bytes(data)
    (site.area / "from file").chmod(0o750)
    (site.area / "old").write_bytes(b"old")
    source = site.url(site.area / "from file")
    good = Checksum("sha256", sha256(data))
    summary, told = site.run(
        move(1, source, site.url(site.area / "new/deep/file"), checksum=good),
        move(2, source, site.url(site.area / "old")),
    )
    assert summary.exit_code == 0, told.outcomes
    assert {told.of(n).route for n in (1, 2)} == {"server-side"}
    assert {told.of(n).digest for n in (1, 2)} == {sha256(data)}
    assert (site.area / "new/deep/file").read_bytes() == data == (site.area / "old").read_bytes()
    assert (site.area / "old").stat().st_mode & 0o777 == 0o750
    assert names(site.area) == {"from file", "new", "old"}


def test_a_copy_of_wrong_content_is_not_published(site: Site) -> None:
    (site.area / "from").write_bytes(b"spoilt")
    (site.area / "old").write_bytes(b"old")
    wrong = move(
        1,
        site.url(site.area / "from"),
        site.url(site.area / "old"),
        checksum=Checksum("sha256", sha256(b"good")),
    )
    short = move(2, site.url(site.area / "from"), site.url(site.area / "new"), size=7)
    gone = move(3, site.url(site.area / "missing"), site.url(site.area / "new"))
    summary, told = site.run(wrong, short, gone)
    assert summary.failed == 3
    assert isinstance(told.of(1).error, Corrupted) and isinstance(told.of(2).error, Corrupted)
    assert isinstance(told.of(3).error, NotFound) and len(told.of(3).attempts) == 1
    assert names(site.area) == {"from", "old"}
    assert (site.area / "old").read_bytes() == b"old"


def test_where_the_server_copies_nothing_it_goes_through_here(tmp_path: Path) -> None:
    home, area = tmp_path / "server", tmp_path / "area"
    home.mkdir()
    area.mkdir()
    (area / "from").write_bytes(content(5000))
    with serving(home, subsystem="internal-sftp -P copy-data") as server:
        site = Site(server, area)
        summary, told = site.run(move(1, site.url(area / "from"), site.url(area / "to")))
        assert (summary.exit_code, told.of(1).route) == (0, "relay")
    assert (area / "to").read_bytes() == content(5000)


@pytest.mark.parametrize("size", [5000, WORTH_A_COMMAND])
def test_the_server_proves_what_it_stores(site: Site, tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(content(size))
    summary, told = site.run(
        move(1, f"file://{tmp_path}/file", site.url(site.area / "file"), verify_checksum_remote=True)
    )
    assert (summary.exit_code, told.of(1).verified) == (0, ("remote",))


def test_the_digest_by_a_command_there_whatever_the_name(sshd: Sshd, tmp_path: Path) -> None:
    backend = connect(sshd, tmp_path)
    data = content(WORTH_A_COMMAND)
    for name in ("plain", "-n", *(n for n in AWKWARD if "$" in n or "\n" in n or "'" in n or "\\" in n)):
        (tmp_path / name).write_bytes(data)
        found = backend.inspect(f"{tmp_path}/{name}", "sha256")
        assert (found.size, found.digest) == (len(data), ("sha256", sha256(data))), name
        (tmp_path / name).unlink()
    (tmp_path / "small").write_bytes(b"x")
    assert backend.inspect(f"{tmp_path}/small", "sha256").digest is None
    with pytest.raises(NotFound):
        backend.inspect(f"{tmp_path}/missing", "sha256")
    backend.close()


def test_no_digest_from_an_account_without_a_shell(tmp_path: Path) -> None:
    home = tmp_path / "server"
    home.mkdir()
    (tmp_path / "large").write_bytes(content(WORTH_A_COMMAND))
    with serving(home, more="ForceCommand internal-sftp") as server:
        backend = connect(server, tmp_path)
        assert backend.inspect(f"{tmp_path}/large", "sha256").digest is None
        assert not backend.files.shell
        backend.close()


def test_a_login_that_is_refused_is_not_tried_again(sshd: Sshd, tmp_path: Path) -> None:
    area = tmp_path / "area"
    area.mkdir()
    site = Site(sshd, area)
    site.credentials.write_text(
        f"[127.0.0.1:{sshd.port}]\nprivate_key = {sshd.wrong_key}\nknown_hosts = {sshd.known_hosts}\n"
    )
    (tmp_path / "file").write_bytes(b"x")
    moves = [move(n, f"file://{tmp_path}/file", site.url(area / f"f{n}")) for n in range(50)]
    summary, told = site.run(*moves)
    assert (summary.failed, summary.exit_code) == (50, 2)
    assert {len(outcome.attempts) for outcome in told.outcomes} == {1}
    assert all(isinstance(outcome.error, Denied) for outcome in told.outcomes)


def test_a_cut_in_the_middle_of_a_run_is_made_good(tmp_path: Path) -> None:
    home, area = tmp_path / "server", tmp_path / "area"
    home.mkdir()
    area.mkdir()
    made = {f"f{n}": content(200_000, n) for n in range(120)}
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    with serving(home) as server:
        site = Site(server, area)

        class Cutting(Recorder):
            def settled(self, outcomes: Any) -> None:
                if not self.outcomes:
                    server.cut()
                super().settled(outcomes)

        environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(site.credentials)}
        settings = Settings(Credentials.load(environ), environ, stall_timeout=20)
        recorder = Cutting()
        moves = [move(n, f"file://{tmp_path}/{name}", site.url(area / name)) for n, name in enumerate(made)]
        options = Options(first_delay=0.01, bandwidth=20_000_000)  # so that the cut comes in the middle
        summary = Engine(options, settings, [recorder]).run(moves)
    assert (summary.done, summary.exit_code) == (120, 0), recorder.outcomes
    assert summary.attempts > 120
    assert {name: (area / name).read_bytes() for name in made} == made
    assert names(area) == set(made)


def test_copies_are_offered_within_one_account_only(sshd: Sshd, tmp_path: Path) -> None:
    from pegasus_toolkit.transfer.interface import Endpoint, Requirement

    one, other = connect(sshd, tmp_path), connect(sshd, tmp_path)
    assert one.copies(other, Requirement())
    other.endpoint = Endpoint("scp", "somebody@127.0.0.1", "here")
    assert not one.copies(other, Requirement())
    for backend in (one, other):
        backend.close()
    assert isinstance(one, Sftp)


def test_who_is_there_and_how_much_room(site: Site) -> None:
    environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(site.credentials)}
    settings = Settings(Credentials.load(environ), environ, stall_timeout=20)
    backend = open_backend(Endpoint("sftp", site.server.authority, "local"), settings)
    try:
        assert backend.identity() == Identity("SSH key", str(site.server.key))
        there = os.statvfs(site.area)
        room = backend.free(f"{site.area}/not/there/yet")
        assert room is not None
        assert abs(room - there.f_bavail * there.f_frsize) < 1 << 30
    finally:
        backend.close()


def test_a_login_that_was_begun_early_is_used_or_ended(site: Site, tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "PEGASUS_CREDENTIALS": str(site.credentials)}
    settings = Settings(Credentials.load(environ), environ, stall_timeout=20)
    (tmp_path / "file").write_bytes(b"x")
    operation = move(0, f"file://{tmp_path}/file", site.url(site.area / "file"))
    begun = []
    for used in (True, False):
        with Preconnect(settings) as early:
            early.begin(operation)
            assert early.pool is not None
            backend = early.pool.sample(operation.destinations[0].endpoint)
            assert isinstance(backend, Sftp)
            session = backend.client.session
            assert session is not None
            assert isinstance(session.link, Child)
            begun.append(session.link.process)
            if used:
                summary = Engine(Options(), settings, pool=early.pool).run([operation])
                assert (summary.done, session.open) == (1, True)
    assert all(process.returncode is not None for process in begun)
