"""How an FTP server is logged in at: TLS or not, and the password."""

from __future__ import annotations

from urllib.parse import urlsplit

from pegasus_toolkit.transfer.backends.http import site as http_site
from pegasus_toolkit.transfer.backends.http.site import Login
from pegasus_toolkit.transfer.clients.curl.ftp import FtpSession
from pegasus_toolkit.transfer.interface import Endpoint, Settings

IMPLICIT = 990  # the port where TLS begins at once
ANONYMOUS = frozenset({"anonymous", "ftp"})


def open_session(endpoint: Endpoint, settings: Settings) -> tuple[Login, FtpSession]:
    """Passwords are sent in TLS, or where the site says ``allow_plain_password = yes``.

    ``ftps`` without a port, or at 990, is TLS from the first byte; at another port, and ``ftp`` with a
    password, TLS is asked for by AUTH and must be granted.
    """
    login, access = http_site.log_in(endpoint, settings)
    base = http_site.base(endpoint)
    secret = access.user is not None and access.user[0] not in ANONYMOUS
    tls = endpoint.scheme == "ftps" or (secret and not login.credential.plain_password)
    session = FtpSession(base, access, settings, tls)
    if endpoint.scheme == "ftps" and urlsplit(base).port not in (None, IMPLICIT):
        session.base = f"ftp://{session.host}"
    return login, session
