"""One cache or origin of a federation: HTTP to read, WebDAV to write, list and remove."""

from __future__ import annotations

from functools import partial
from typing import Any

import pycurl

from pegasus_toolkit.credentials import HttpCredential
from pegasus_toolkit.transfer.backends.http.backend import CurlBackend
from pegasus_toolkit.transfer.backends.http.get import Gets
from pegasus_toolkit.transfer.backends.http.site import Login
from pegasus_toolkit.transfer.backends.osdf.site import Site
from pegasus_toolkit.transfer.backends.webdav.backend import WebDav
from pegasus_toolkit.transfer.backends.webdav.files import DavFiles, DavTraits
from pegasus_toolkit.transfer.backends.webdav.get import DavGets
from pegasus_toolkit.transfer.clients.curl.exchange import Exchange
from pegasus_toolkit.transfer.clients.pelican import PrefixedSession, Sources
from pegasus_toolkit.transfer.errors import Denied, TransferError

SLOW = (
    16 << 10
)  # bytes a second, over the time that a stall takes, with which a cache is given up for another
HURRY = 20.0  # seconds until the next cache is tried, where there is another


class OsdfSession(PrefixedSession):
    """``hurried``: there is another server, so that a slow one need not be borne."""

    hurried = False
    hint = ""

    def handle(self) -> Any:
        """Gives up what is slow."""
        handle = super().handle()
        if self.hurried:
            handle.setopt(pycurl.LOW_SPEED_LIMIT, SLOW)
        return handle

    def refusal(self, exchange: Exchange, own: bool) -> TransferError:
        """With the token that would do."""
        error = super().refusal(exchange, own)
        if own and isinstance(error, Denied):
            error.hint = self.hint
        return error


class Server(WebDav):
    """``base``: the URL that paths are appended to."""

    def __init__(self, base: str, sources: Sources, site: Site, *, writes: bool, hurried: bool) -> None:
        settings = site.settings
        if hurried:
            settings = _hurried(site)
        session = OsdfSession(base, site.access(writes or sources.token), settings)
        session.hurried = hurried
        session.hint = _hint(sources, site, writes)
        CurlBackend.__init__(self, session)
        self.base = base
        self.login = Login(HttpCredential(), None, ())
        self.scheme = "davs"
        self.gets = DavGets if writes else Gets
        self.files = DavFiles(session, DavTraits())
        self.files.traits.choose(site.temporary_names)
        self.files.warn = settings.warn
        self.files.noted = partial(settings.notes.aside, site.endpoint)


def _hurried(site: Site) -> Any:
    from msgspec.structs import replace

    settings = site.settings
    return replace(
        settings,
        connect_timeout=min(HURRY / 2, settings.connect_timeout),
        stall_timeout=min(HURRY, settings.stall_timeout),
    )


def _hint(sources: Sources, site: Site, writes: bool) -> str:
    """Which token opens a namespace."""
    scope = "storage.modify" if writes else "storage.read"
    issuers = f" of {' or '.join(sources.issuers)}" if sources.issuers else ""
    wanted = f"a token{issuers} with {scope} for {sources.namespace}"
    if site.token is not None:
        return f"the token of {site.token.origin} was used; it takes {wanted}"
    return f"it takes {wanted}: name its file in BEARER_TOKEN_FILE"
