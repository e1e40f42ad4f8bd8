"""Requests of WebDAV that are followed by others: each says what comes next."""

from __future__ import annotations

from collections.abc import Callable

from pegasus_toolkit.transfer.backends.webdav import xml as webdav_xml
from pegasus_toolkit.transfer.backends.webdav.xml import Resource
from pegasus_toolkit.transfer.clients.curl.exchange import Answer
from pegasus_toolkit.transfer.clients.curl.loop import Loop, fetch
from pegasus_toolkit.transfer.clients.curl.session import Session
from pegasus_toolkit.transfer.clients.curl.upload import Upload
from pegasus_toolkit.transfer.errors import ServerFault, TransferError

PAGE = 256 << 20  # bytes of one answer to PROPFIND, at most
XML = "Content-Type: application/xml; charset=utf-8"
NO_PROPFIND = frozenset({400, 405, 500, 501})  # of servers that write, and know no properties


class Step(Answer):
    """A request, and what is to be done when it is over."""

    def __init__(
        self,
        session: Session,
        method: str,
        path: str,
        then: Callable[[Step], None],
        *,
        extra: tuple[str, ...] = (),
        upload: Upload | None = None,
        limit: int = 1 << 20,
    ) -> None:
        super().__init__(session, session.url(path), method, limit)
        self.extra = extra
        self.upload = upload
        self.then = then

    @property
    def status(self) -> int:
        """Of the last answer; 0 where there was none."""
        return self.head.status if self.head is not None else 0

    @property
    def missing(self) -> bool:
        """Whether there was nothing of that name."""
        return self.status == 404

    def resources(self) -> list[Resource]:
        """What a multistatus answer tells; nothing where it is none."""
        return webdav_xml.parse(bytes(self.body), self.shown()) if self.status == 207 else []

    def partly(self) -> TransferError | None:
        """``failed``, or where a 207 names something that was not done."""
        error = self.failed()
        if error is None and self.status == 207:
            try:
                bad = next((one for one in self.resources() if one.status >= 400), None)
            except TransferError as wrong:
                return wrong
            if bad is not None:
                assert self.head is not None
                self.head.status, self.head.reason = bad.status, ""
                error = self.refusal()
        return error

    def refusal(self) -> TransferError:
        """The error that this answer's status stands for."""
        from pegasus_toolkit.transfer.clients.curl import errors as curl_errors

        assert self.head is not None
        host = self.session.host
        return curl_errors.of_status(self.head, self.shown(), host, self.session.access.section)


def propfind(
    session: Session, path: str, then: Callable[[Step], None], *, depth: int = 0, ask: bytes = webdav_xml.ASK
) -> Step:
    """A PROPFIND of a path, or of it and what is in it (``depth`` 1)."""
    extra = (f"Depth: {depth}", XML)
    return Step(session, "PROPFIND", path, then, extra=extra, upload=Upload(ask), limit=PAGE)


def alone(loop: Loop, step: Step) -> Step:
    """One step to its end. Raises what went wrong."""
    fetch(loop, step)
    if len(step.body) > step.most:
        raise ServerFault(f"the answer has more than {step.most >> 20} MiB", url=step.shown())
    return step


def nothing(_: Step) -> None:
    """What is to be done after a step that is the last."""
