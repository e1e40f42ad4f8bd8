"""Authenticated data connections (DCAU A): both sides show a proxy of one user, then bytes go as they are.

The side that made the connection is the TLS client. It says with one byte that it delegates nothing, and what
follows is plain; where that was agreed (PROT P), all stays in TLS and Globus has no such byte. Ours is the
proxy of the control connection; the server must show the very one that was signed for it there. That says
more than any authority could (who knows that certificate's key is the server), and a user's certificate may
not be good for "servers", so as a TLS client we look at nothing else.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from pegasus_toolkit.credentials import X509Credential
from pegasus_toolkit.transfer.errors import Denied

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.clients.gridftp.proxies import Delegated

NOTHING = b"0"  # is delegated


class Guard:
    """Of the data connections of one control connection. ``private``: what they carry is encrypted, too."""

    def __init__(
        self, credential: X509Credential, authorities: str, theirs: Delegated, private: bool, url: str
    ) -> None:
        self.credential = credential
        self.authorities = authorities
        self.theirs = theirs
        self.private = private
        self.url = url

    def wrap(self, sock: socket.socket, accepted: bool) -> ssl.SSLSocket:
        """The same connection, to be greeted."""
        context = tls(self.credential, self.authorities, self.url, server=accepted)
        context.check_hostname = False  # it is no host that is expected, but the holder of one certificate
        context.verify_mode = ssl.CERT_REQUIRED if accepted else ssl.CERT_NONE
        context.verify_flags |= ssl.VerifyFlags.VERIFY_ALLOW_PROXY_CERTS
        return context.wrap_socket(sock, server_side=accepted, do_handshake_on_connect=False)

    def greet(self, sock: ssl.SSLSocket) -> Generator[socket.socket, None, socket.socket]:
        """Agrees with the other side; yields whenever that is to be awaited. What carries the bytes.

        Raises ``Denied`` for another than the server, ``OSError``.
        """
        sock.setblocking(False)
        yield from _patient(sock, sock.do_handshake)
        if sock.getpeercert(True) != self.theirs.certificate:
            raise Denied("somebody else than the server is at the data connection", url=self.url)
        if self.private:
            return sock
        if sock.server_side:
            yield from _patient(sock, lambda: sock.read(1))
        else:
            sock.write(NOTHING)
        return socket.socket(fileno=sock.detach())


def _patient(sock: ssl.SSLSocket, step: Callable[[], object]) -> Generator[socket.socket, None, None]:
    while True:
        try:
            step()
            return
        except ssl.SSLWantReadError:
            yield sock


def tls(credential: X509Credential, authorities: str, url: str, server: bool = False) -> ssl.SSLContext:
    """With ours, as GSI speaks it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2  # GSI has no 1.3
    context.load_verify_locations(capath=authorities)
    try:
        context.load_cert_chain(credential.certificate, credential.key)
    except ssl.SSLError as error:
        name = credential.certificate
        raise Denied(f"cannot use the proxy {name}: {error.reason or 'not PEM'}", url=url) from None
    return context
