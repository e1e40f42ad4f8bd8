"""Rucio: who logs in with what, what a user may not do, and a server that is not there."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NoSpace,
    NotFound,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Job, Source
from tests.faults import Unsized
from tests.material import content, given, store_job
from tests.rucio_world import NUMBERS, Element, command, fetched, opened, settings
from tests.servers.common import free_port
from tests.servers.odd_http import Reply
from tests.servers.pki import Pki
from tests.servers.rucio import PASSWORD, SCOPE, Rucio

pytestmark = pytest.mark.timeout(300)  # the first test starts the server
OddServer = Callable[..., Any]


@pytest.fixture
def did() -> str:
    return f"{SCOPE}:f{os.getpid()}-{next(NUMBERS)}"


@pytest.fixture
def element(rucio: Rucio, tmp_path: Path) -> Element:
    return Element(rucio, tmp_path)


def put(backend: Backend, did: str, end: Source) -> TransferError | None:
    (job,) = backend.put(iter([store_job(f"/{did}", end)]))
    backend.close()
    return job.error


# --- what a user may not do ---------------------------------------------------------------------------


def nothing_of(element: Element, did: str) -> None:
    assert element.rucio.known(did.partition(":")[2]).living == set()
    assert [file for file in element.root.rglob("*") if file.is_file()] == []


@pytest.mark.parametrize("sized", [True, False])
def test_a_quota_that_is_used_up_leaves_nothing(
    sized: bool, element: Element, did: str, tmp_path: Path
) -> None:
    """Told before anything moves, where the size is known; else what was registered is undone."""
    element.rucio.admin.set_local_account_limit("tester", element.name, 100)
    end = given(content(1000))
    error = put(opened(tmp_path, element, element.name), did, end if sized else Unsized(end))
    assert isinstance(error, NoSpace), error
    assert "rucio account limit list" in str(error)
    assert (end.at == 0) == sized
    nothing_of(element, did)


def test_of_many_files_those_that_fit_into_the_quota_are_written(
    element: Element, did: str, tmp_path: Path
) -> None:
    element.rucio.admin.set_local_account_limit("tester", element.name, 250)
    backend = opened(tmp_path, element, element.name)
    jobs: list[Job[Source]] = [store_job(f"/{did}/{n}", given(content(100, n))) for n in range(4)]
    assert [type(job.error) for job in backend.put(iter(jobs)) if job.error] == [NoSpace] * 2
    backend.close()
    assert element.rucio.known(did.partition(":")[2]).living == {f"{did}/{n}" for n in range(2)}


def test_who_may_not_register_leaves_nothing(rucio: Rucio, did: str, tmp_path: Path) -> None:
    element = Element(rucio, tmp_path, "DATADISK")  # Rucio's usual permissions close it to users
    error = put(opened(tmp_path, element, element.name), did, given(b"data"))
    assert isinstance(error, Denied), error
    assert "operators" in str(error)
    nothing_of(element, did)


def test_a_closed_storage_element(element: Element, did: str, tmp_path: Path) -> None:
    element.rucio.admin.update_rse(element.name, {"availability_write": False})
    error = put(opened(tmp_path, element, element.name), did, given(b"data"))
    assert isinstance(error, Denied) and "closed for writing" in str(error)
    nothing_of(element, did)


def test_an_unknown_storage_element(element: Element, did: str, tmp_path: Path) -> None:
    error = put(opened(tmp_path, element, "NO_SUCH"), did, given(b"data"))
    assert isinstance(error, BadSpecification) and "rucio rse list" in str(error)
    error = put(opened(tmp_path, element), did, given(b"data"))
    assert isinstance(error, BadSpecification) and "rucio://RSE/scope:name" in str(error)


@pytest.mark.parametrize("name", ["no-colon", f"{SCOPE}:a:b", f"{SCOPE}:", ":name"])
def test_what_is_no_data_identifier(name: str, element: Element, tmp_path: Path) -> None:
    (error,) = fetched(opened(tmp_path, element), f"/{name}").values()
    assert isinstance(error, BadSpecification) and "rucio://scope:name" in str(error)


def test_the_same_content_mends_a_damaged_replica(element: Element, did: str, tmp_path: Path) -> None:
    element.write({did: b"content"})
    element.file(did).write_bytes(b"CONTENT")
    assert put(opened(tmp_path, element, element.name), did, given(b"content")) is None
    assert element.file(did).read_bytes() == b"content"


def test_a_further_replica_of_a_file(element: Element, did: str, tmp_path: Path) -> None:
    element.write({did: b"content"})
    other = Element(element.rucio, tmp_path)
    assert isinstance(put(opened(tmp_path, other, other.name), did, given(b"CONTENT")), Denied)
    nothing = [file for file in other.root.rglob("*") if file.is_file()]
    assert nothing == []
    assert put(opened(tmp_path, other, other.name), did, given(b"content")) is None
    assert len(element.rucio.replicas(did)) == 2


def test_what_was_erased_is_gone_and_its_name_is_taken(element: Element, did: str, tmp_path: Path) -> None:
    element.write({did: b"content"})
    backend = opened(tmp_path, element, element.name)
    assert list(backend.remove([f"/{did}"])) == [(f"/{did}", None)]
    assert isinstance(fetched(backend, f"/{did}")[f"/{did}"], NotFound)
    error = put(opened(tmp_path, element, element.name), did, given(b"content"))
    assert isinstance(error, Denied) and "erased" in str(error)


# --- datasets -----------------------------------------------------------------------------------------


def test_a_container_is_a_directory(element: Element, did: str, tmp_path: Path) -> None:
    admin, (_, _, name) = element.rucio.admin, did.partition(":")
    files = {f"{did}.{n}": content(100, n) for n in range(3)} | {f"test:{name}.0": b"of the same name"}
    element.write(files)
    admin.add_dataset(SCOPE, f"{name}.set")
    admin.attach_dids(
        SCOPE, f"{name}.set", [dict(zip(("scope", "name"), one.split(":"), strict=True)) for one in files]
    )
    admin.add_container(SCOPE, f"{name}.all")
    admin.attach_dids(SCOPE, f"{name}.all", [{"scope": SCOPE, "name": f"{name}.set"}])
    done, _ = command(tmp_path, element, f"rucio://{did}.all", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        f"{name}.1": content(100, 1),
        f"{name}.2": content(100, 2),
        f"{did}.0": content(100, 0),
        f"test:{name}.0": b"of the same name",
    }
    backend = opened(tmp_path, element)
    assert backend.stat(f"/{did}.all").directory and backend.stat(f"/{did}.set").directory
    assert backend.stat(f"/{did}.set/{name}.1").size == 100
    ((_, error),) = backend.remove([f"/{did}.set"])
    assert error is not None and error.kind == "is a directory"
    backend.close()


# --- logins -------------------------------------------------------------------------------------------


def login(directory: Path, element: Element, **more: str) -> TransferError | None:
    """How a login goes that has nothing but what is told."""
    nothing = {"username": "", "password": "", "auth_type": ""}
    try:
        opened(directory, element, **{**nothing, **more}).stat(f"/{SCOPE}:none")
    except NotFound:
        return None
    except TransferError as error:
        return error
    raise AssertionError("there is such a file")


def test_a_wrong_password(element: Element, tmp_path: Path) -> None:
    error = login(tmp_path, element, auth_type="userpass", username="tester", password="wr0ng-s3cret")
    assert isinstance(error, Denied), error
    assert "rucio.cfg" in str(error) and "wr0ng-s3cret" not in str(error)


def test_a_proxy_logs_in(element: Element, tmp_path: Path) -> None:
    grid = element.rucio.grid
    assert login(tmp_path, element, auth_type="x509_proxy", client_x509_proxy=str(grid.proxy)) is None
    assert (
        login(
            tmp_path,
            element,
            auth_type="x509",
            client_cert=str(grid.user_cert),
            client_key=str(grid.user_key),
        )
        is None
    )
    other = login(tmp_path, element, auth_type="x509_proxy", client_x509_proxy=str(grid.other_proxy))
    assert isinstance(other, Denied)
    over = login(tmp_path, element, auth_type="x509_proxy", client_x509_proxy=str(grid.expired))
    assert isinstance(over, Denied) and "expired at" in str(over)


def test_a_token_is_kept_for_its_account(element: Element, tmp_path: Path) -> None:
    file = tmp_path / "token"
    kept = {"auth_token_file_path": str(file)}
    assert (
        login(tmp_path, element, auth_type="userpass", username="tester", password=PASSWORD, **kept) is None
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert login(tmp_path, element, auth_type="userpass", username="tester", password="wrong", **kept) is None
    error = login(tmp_path, element, auth_type="oidc", account="another", **kept)
    assert isinstance(error, Denied) and "of another account" in str(error)
    token = file.read_text()
    file.write_text(token[:-1] + "x")  # it is over, say
    error = login(tmp_path, element, auth_type="userpass", username="tester", password="wrong", **kept)
    assert isinstance(error, Denied)
    error = login(tmp_path, element, auth_type="oidc", **kept)
    assert isinstance(error, Denied) and "refused" in str(error) and token not in str(error)
    assert (
        login(tmp_path, element, auth_type="userpass", username="tester", password=PASSWORD, **kept) is None
    )
    assert file.read_text() not in (token, token[:-1] + "x")
    file.chmod(0o644)
    error = login(tmp_path, element, auth_type="oidc", **kept)
    assert isinstance(error, Denied) and "chmod 600" in str(error)


def test_the_sites_token_logs_in_and_is_read_again(element: Element, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    login(
        tmp_path,
        element,
        auth_type="userpass",
        username="tester",
        password=PASSWORD,
        auth_token_file_path=str(file),
    )
    token = tmp_path / "bearer"
    token.touch(0o600)
    token.write_text("tester-of-old-times")
    told = settings(
        tmp_path,
        element.rucio.section(auth_type="oidc", username="", password=""),
        BEARER_TOKEN_FILE_here=str(token),
    )
    backend = open_backend(Endpoint("rucio", "rucio", "here"), told)
    with pytest.raises(Denied, match="refused"):
        backend.stat(f"/{SCOPE}:none")
    token.write_text(file.read_text())
    with pytest.raises(NotFound):
        backend.stat(f"/{SCOPE}:none")
    backend.close()


def test_check_tells_the_account_and_what_is_left_of_the_quota(element: Element, tmp_path: Path) -> None:
    element.rucio.admin.set_local_account_limit("tester", element.name, 5_000_000)
    (tmp_path / "file").write_bytes(b"x")
    done, _ = command(tmp_path, element, tmp_path / "file", f"rucio://{element.name}/{SCOPE}:x", "--check")
    assert done.returncode == 0, done.stderr
    assert "Rucio account tester (userpass)" in done.stdout + done.stderr


# --- the server ---------------------------------------------------------------------------------------


def test_a_server_that_is_not_there(element: Element, did: str, tmp_path: Path) -> None:
    backend = opened(tmp_path, element, rucio_host=f"https://localhost:{free_port()}")
    (error,) = fetched(backend, f"/{did}").values()
    assert isinstance(error, Unreachable), error
    assert "rucio_host" in str(error)


def test_a_server_whose_certificate_nobody_trusts(
    element: Element, pki: Pki, did: str, tmp_path: Path
) -> None:
    backend = opened(tmp_path, element, ca_cert=str(pki.ca))
    (error,) = fetched(backend, f"/{did}").values()
    assert isinstance(error, Denied) and "ca_cert" in str(error), error
    with pytest.raises(Denied, match="is not there"):
        opened(tmp_path, element, ca_cert="/no/such/file")


def test_a_server_that_is_silent(element: Element, odd: OddServer, did: str, tmp_path: Path) -> None:
    import msgspec

    server = odd(lambda request: Reply(silent=True))
    told = settings(tmp_path, element.rucio.section(rucio_host=f"http://{server.authority}"))
    told = msgspec.structs.replace(told, stall_timeout=0.5)
    (error,) = fetched(open_backend(Endpoint("rucio", "rucio", "here"), told), f"/{did}").values()
    assert isinstance(error, TimedOut), error


def test_a_server_in_trouble_is_not_waited_for(
    element: Element, odd: OddServer, did: str, tmp_path: Path
) -> None:
    server = odd(lambda request: Reply(b"", 503))
    backend = opened(tmp_path, element, rucio_host=f"http://{server.authority}")
    (error,) = fetched(backend, f"/{did}").values()
    assert isinstance(error, ServerFault), error
    assert len(server.requests) <= 2
