"""GridFTP's data connections: who is at their other end, and what the server's section says of that."""

from __future__ import annotations

import datetime
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pegasus_toolkit.credentials import X509Credential
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.gridftp import site
from pegasus_toolkit.transfer.backends.gridftp.backend import GridFtp
from pegasus_toolkit.transfer.clients.gridftp import data as gridftp_data
from pegasus_toolkit.transfer.clients.gridftp.proxies import sign
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement
from tests.material import content, errors, fetch_job, given, settle, store_job
from tests.servers.common import public_directory
from tests.servers.grid_pki import Grid
from tests.servers.gridftp import GridFtpServer, serving


@pytest.fixture
def top(gridftp: GridFtpServer) -> Path:
    made = gridftp.data / os.urandom(4).hex()
    made.mkdir()
    return made


def opened(server: GridFtpServer, tmp_path: Path, **said: str) -> GridFtp:
    """With that in the server's section."""
    path = tmp_path / f"{os.urandom(4).hex()}.conf"
    path.touch(0o600)
    lines = [f"[gsiftp://{server.authority}]", *(f"{key} = {value}" for key, value in said.items())]
    path.write_text("\n".join(lines))
    settings = server.settings(PEGASUS_CREDENTIALS=str(path))
    backend = open_backend(Endpoint("gsiftp", server.authority, "grid"), settings)
    assert isinstance(backend, GridFtp)
    return backend


class Impostor:
    """Waits where the server should. ``proxy``: it can show that one, else it just reads."""

    def __init__(self, proxy: Path | None) -> None:
        self.proxy = proxy
        self.heard = b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with suppress(OSError), ExitStack() as stack:
            sock = stack.enter_context(self.listener.accept()[0])
            sock.settimeout(5.0)
            if self.proxy is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.proxy)
                sock = stack.enter_context(context.wrap_socket(sock, server_side=True))
            while more := sock.recv(4096):
                self.heard += more

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


@pytest.fixture(params=["silent", "other_proxy", "proxy"])
def impostor(
    request: pytest.FixtureRequest, grid: Grid, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Impostor]:
    made = Impostor(None if request.param == "silent" else getattr(grid, request.param))
    place = made.listener.getsockname()
    monkeypatch.setattr(gridftp_data, "spot", lambda reply, session: place)
    monkeypatch.setattr(gridftp_data, "reachable", lambda session: False)
    monkeypatch.setattr(gridftp_data, "WORD", 0.05)
    yield made
    made.close()


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_in_the_servers_place_gets_nothing(
    gridftp: GridFtpServer, top: Path, tmp_path: Path, impostor: Impostor, stream: bool
) -> None:
    """Not even one who holds a proxy of the same user: the server's own is known."""
    (top / "there").write_bytes(b"old")
    backend = opened(gridftp, tmp_path)
    backend.client.patience = 1.0
    with pytest.raises(TransferError) as caught:
        if stream:
            list(backend.get(iter([fetch_job(str(top / "there"))])))
        else:
            list(backend.put(iter([store_job(str(top / "new"), given(b"secret" * 1000))])))
    backend.close()
    if impostor.proxy is not None:
        assert isinstance(caught.value, Denied)
    impostor.close()
    assert b"secret" not in impostor.heard
    assert {path.name: path.read_bytes() for path in top.iterdir()} == {"there": b"old"}


@pytest.mark.parametrize("proxy", [None, "other_proxy", "proxy"])
def test_who_comes_in_the_servers_place_is_refused(
    gridftp: GridFtpServer,
    top: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    proxy: str | None,
) -> None:
    """From the server's own address, and faster than the server."""
    (top / "file").write_bytes(b"right")
    monkeypatch.setattr(gridftp_data, "WORD", 0.05)
    must = gridftp_data.Receiver.must
    strangers: list[threading.Thread] = []

    def intrude(sock: socket.socket) -> None:
        with suppress(OSError), ExitStack() as stack:
            stack.enter_context(sock)
            sock.settimeout(5.0)
            if proxy is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.load_cert_chain(getattr(gridftp.grid, proxy))
                tls = stack.enter_context(context.wrap_socket(sock))
                tls.sendall(b"0")
                sock = stack.enter_context(socket.socket(fileno=tls.detach()))
            sock.sendall(gridftp_data.HEADER.pack(0, 5, 0) + b"wrong")
            sock.sendall(gridftp_data.HEADER.pack(gridftp_data.LAST | gridftp_data.ENDED, 0, 1))
            sock.recv(1)

    def faster(self: gridftp_data.Receiver, command: str) -> object:
        if command.startswith("PORT"):
            sock = socket.create_connection(self.listener.getsockname())
            strangers.append(threading.Thread(target=intrude, args=(sock,)))
            strangers[-1].start()
        return must(self, command)

    monkeypatch.setattr(gridftp_data.Receiver, "must", faster)
    backend = opened(gridftp, tmp_path)
    job = fetch_job(str(top / "file"))
    with pytest.raises(TransferError) as caught:
        list(backend.get(iter([job])))
    assert isinstance(caught.value, Denied) == (proxy is not None)
    backend.close()
    for thread in strangers:
        thread.join()


def test_a_server_that_insists_on_encrypted_data(grid: Grid, tmp_path: Path) -> None:
    with public_directory("gridftp-") as home, serving(home, grid, ["-encrypt-data"]) as server:
        there = server.data / "file"
        clear = opened(server, tmp_path)
        with pytest.raises(Unsupported) as caught:
            list(clear.put(iter([store_job(str(there), given(content(5000)))])))
        assert "data_channel_protection" in caught.value.hint
        clear.close()
        assert list(server.data.iterdir()) == []
        backend = opened(server, tmp_path, data_channel_protection="private")
        assert errors(backend.put(iter([store_job(str(there), given(content(3 << 20)))]))) == [None]
        assert there.read_bytes() == content(3 << 20)
        (got,) = backend.get(iter([fetch_job(str(there))]))
        assert settle(got) == content(3 << 20)
        assert [entry.path for entry in backend.list(str(server.data))] == [str(there)]
        other = opened(server, tmp_path, data_channel_protection="private")
        copy = Job[None](str(there), f"{there}2", Requirement(), None)
        assert [job.error for job in backend.copy(iter([copy]), other, Control())] == [None]
        assert Path(f"{there}2").read_bytes() == content(3 << 20)
        other.close()
        backend.close()


@pytest.mark.parametrize("stream", [False, True])
def test_encrypted_data_are_not_read_on_the_way(
    gridftp: GridFtpServer, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    if stream:
        monkeypatch.setattr(gridftp_data, "reachable", lambda session: False)
    (top / "file").write_bytes(content(70_000))
    backend = opened(gridftp, tmp_path, data_channel_protection="private")
    (got,) = backend.get(iter([fetch_job(str(top / "file"))]))
    assert settle(got) == content(70_000)
    assert stream or (
        backend.client.receiver is not None and isinstance(backend.client.receiver.sock, ssl.SSLSocket)
    )
    backend.close()


def test_a_server_that_authenticates_no_data(grid: Grid, tmp_path: Path) -> None:
    """Nothing is moved without the site's word."""
    arguments = ["-disable-command-list", "DCAU"]
    with public_directory("gridftp-") as home, serving(home, grid, arguments) as server:
        (server.data / "file").write_bytes(b"data")
        backend = opened(server, tmp_path)
        with pytest.raises(Unsupported) as caught:
            list(backend.get(iter([fetch_job(str(server.data / "file"))])))
        assert "data_channel_authentication = none" in caught.value.hint
        backend.close()


def test_the_sites_section_does_without(gridftp: GridFtpServer, top: Path, tmp_path: Path) -> None:
    backend = opened(gridftp, tmp_path, data_channel_authentication="none")
    assert errors(backend.put(iter([store_job(str(top / "file"), given(b"x"))]))) == [None]
    assert backend.client.sender is not None and backend.client.sender.session.guard is None
    other = opened(gridftp, tmp_path)
    assert not backend.copies(other, Requirement()), "one would show a proxy, the other would not look"
    backend.close()
    other.close()


@pytest.mark.parametrize(
    "said",
    [
        {"data_channel_authentication": "perhaps"},
        {"data_channel_protection": "yes"},
        {"data_channel_authentication": "none", "data_channel_protection": "private"},
    ],
)
def test_what_makes_no_sense_is_refused(gridftp: GridFtpServer, tmp_path: Path, said: dict[str, str]) -> None:
    with pytest.raises(BadSpecification, match="data_channel_"):
        opened(gridftp, tmp_path, **said)


def test_without_the_library_the_error_says_what_to_install(
    gridftp: GridFtpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="cryptography") as caught:
        opened(gridftp, tmp_path)
    assert "pegasus-toolkit[gridftp]" in caught.value.hint
    opened(gridftp, tmp_path, data_channel_authentication="none").close()


def test_what_the_server_is_given(grid: Grid) -> None:
    """A limited proxy of ours, no longer good than ours is."""
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, hashes.SHA256())
    ours = x509.load_pem_x509_certificate(grid.proxy.read_bytes())
    ends = int(ours.not_valid_after_utc.timestamp())
    credential = X509Credential(str(grid.proxy), str(grid.proxy), 0.0, ends)
    made = sign(credential, request.public_bytes(serialization.Encoding.DER), "gsiftp://h")
    found = x509.load_der_x509_certificate(made.certificate)
    found.verify_directly_issued_by(ours)
    assert found.public_key() == key.public_key()
    assert found.not_valid_after_utc == datetime.datetime.fromtimestamp(ends, datetime.timezone.utc)
    info = next(one for one in found.extensions if one.oid.dotted_string == "1.3.6.1.5.5.7.1.14")
    assert info.critical
    limited = x509.ObjectIdentifier("1.3.6.1.4.1.3536.1.1.1.9")
    assert info.value.public_bytes().endswith(bytes.fromhex("2b060104019b5001010109")), limited
    assert made.subject == "/O=Test Grid/CN=Test User"
    with pytest.raises(Denied, match="cannot make a proxy"):
        sign(credential, b"no request", "gsiftp://h")
