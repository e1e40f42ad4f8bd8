"""GSI on a GridFTP control connection (RFC 2228 with GSSAPI): TLS in tokens of base64.

Commands and replies are encrypted, and a reply that is not is refused. A server that is to authenticate
itself on data connections is given a proxy for that; others are given nothing.
"""

from __future__ import annotations

import base64
import binascii
import socket
import ssl

from pegasus_toolkit.credentials import X509Credential
from pegasus_toolkit.transfer.clients.gridftp.guard import NOTHING, Guard, tls
from pegasus_toolkit.transfer.clients.gridftp.wire import LINE, Link
from pegasus_toolkit.transfer.errors import Denied, ServerFault

DELEGATION = b"D"
ROUNDS = 32  # tokens until both sides must agree


class Gsi:
    """A connection whose other side was checked against the authorities, and knows who we are.

    Raises ``Denied`` when one side does not trust the other.
    """

    def __init__(
        self, sock: socket.socket, host: str, url: str, credential: X509Credential, authorities: str
    ) -> None:
        self.sock = sock
        self.host = host
        self.url = url
        self.credential = credential
        self.authorities = authorities
        self.guard: Guard | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = tls(credential, authorities, url)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def log_in(self, data: bool = False, private: bool = False) -> None:
        """Shows who we are. ``data``: data connections are authenticated, ``private``: and encrypted."""
        self._line(220)
        self.sock.sendall(b"AUTH GSSAPI\r\n")
        self._line(334)
        agreed = False
        for _ in range(ROUNDS):
            if not agreed and (agreed := self._step()):
                self._tls.write(DELEGATION if data else NOTHING)
            elif data and agreed:
                self._delegate(private)
            self.sock.sendall(b"ADAT " + base64.b64encode(self._outgoing.read()) + b"\r\n")
            code, text = self._line(335, 235)
            if code == 235 and agreed and (self.guard is not None or not data):
                return
            self._feed(text.partition(b"ADAT=")[2])
        raise self._denied("the handshake does not end")

    def _step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLCertVerificationError as error:
            hint = "is its authority in X509_CERT_DIR, and does the URL name it as its certificate does?"
            raise self._denied(f"its certificate is not trusted: {error.verify_message}", hint) from None
        except ssl.SSLError as error:
            raise self._denied(f"no secure connection: {error.reason or 'TLS failed'}") from None
        return True

    def _delegate(self, private: bool) -> None:
        """Answers the server's request for a proxy."""
        from pegasus_toolkit.transfer.clients.gridftp.proxies import sign

        delegated = sign(self.credential, self._content(), self.url)
        self._tls.write(delegated.certificate)  # the rest of its chain it has seen
        self.guard = Guard(self.credential, self.authorities, delegated, private, self.url)

    def _line(self, *expected: int) -> tuple[int, bytes]:
        """The next reply of the unprotected beginning. Byte by byte, to take nothing of what follows."""
        text = b""
        while True:
            line = self._raw_line()
            text += line[4:]
            if line[3:4] == b" " and line[:3].isdigit():
                break
        code = int(line[:3])
        if code not in expected:
            said = text.decode(errors="replace").strip()[:300]
            if code >= 500 and code != 500:
                raise self._denied(f"the server refuses us: {code} {said}", "is the proxy of the right VO?")
            raise ServerFault(f"the server answers {code} {said}", url=self.url, host=self.host)
        return code, text.strip()

    def _raw_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            byte = self.sock.recv(1)
            if not byte or len(line) > LINE:
                raise ServerFault("the server closed the connection", url=self.url, host=self.host)
            line += byte
        return line

    def seal(self, line: bytes) -> bytes:
        """A command, encrypted."""
        self._tls.write(line + b"\r\n")
        return b"ENC " + base64.b64encode(self._outgoing.read()) + b"\r\n"

    def unseal(self, line: bytes) -> bytes:
        """What a reply of kind 632 or its like holds. Raises for one that is not protected."""
        if line[:3] not in (b"631", b"632", b"633"):
            raise ServerFault("a reply without protection", url=self.url, host=self.host)
        self._feed(line[4:])
        return self._content()

    def _content(self) -> bytes:
        content = b""
        try:
            while block := self._tls.read(1 << 16):
                content += block
                if not (self._tls.pending() or self._incoming.pending):
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise ServerFault(f"a reply that is damaged: {error.reason}", url=self.url) from None
        return content

    def _feed(self, token: bytes) -> None:
        try:
            self._incoming.write(base64.b64decode(token))
        except binascii.Error:
            raise ServerFault("a token that is not base64", url=self.url, host=self.host) from None

    def _denied(self, message: str, hint: str = "") -> Denied:
        return Denied(message, url=self.url, host=self.host, hint=hint)

    def close(self) -> None:
        """Idempotent."""
        self.sock.close()


_: type[Link] = Gsi
