"""Downloads by WebDAV: as HTTP's; but a page in place of a file may be the listing of a directory."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.transfer.backends.http.get import Fetch, Gets
from pegasus_toolkit.transfer.backends.webdav import xml as webdav_xml
from pegasus_toolkit.transfer.clients.curl.exchange import REDIRECTS, Again
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import IsDirectory
from pegasus_toolkit.transfer.interface import Data, Job, Sink

MOST = 1 << 20  # bytes of the answer that are kept


class DavFetch(Fetch):
    """One file. Where HTML comes, the server is asked first whether it is a collection: some show one so."""

    def __init__(self, batch: Gets, job: Job[Sink]) -> None:
        super().__init__(batch, job)
        self._asking = self._asked = False
        self._answer = bytearray()

    def begin(self, head: Head) -> None:
        """Holds back what may be no file."""
        if self._asking:
            self._answer.clear()
            self.take = self._keep
        elif head.status == 200 and not self._asked and "html" in head.get("content-type").lower():
            self._asking = self._asked = True
            self._turn("PROPFIND", "Depth: 0", webdav_xml.TYPE)
            self.upload = Upload(webdav_xml.ASK)
            raise Again
        else:
            super().begin(head)

    def _turn(self, method: str, *extra: str) -> None:
        self.method, self.extra = method, extra

    def _keep(self, chunk: Data) -> None:
        if len(self._answer) < MOST:
            self._answer += chunk

    def _judge(self, handle: Any, code: int, text: str) -> bool:
        status = self.head.status if self.head is not None else 0
        if not self._asking or code or status in REDIRECTS or status == 401:
            return super()._judge(handle, code, text)
        self._asking = False
        if status == 207:
            found = webdav_xml.parse(bytes(self._answer), self.shown())
            if found and found[0].collection:
                raise IsDirectory("a directory, not a file", url=self.shown(), host=self.session.host)
        self._turn("GET")
        self.upload = None
        self.reset()
        return False


class DavGets(Gets):
    """One batch of downloads."""

    fetch = DavFetch
