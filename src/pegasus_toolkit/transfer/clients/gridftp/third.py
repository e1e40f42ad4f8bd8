"""From one GridFTP server straight to another: both are told of each other, and of each file."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pegasus_toolkit.transfer.clients.gridftp.data import Channel, passive, spot
from pegasus_toolkit.transfer.clients.gridftp.errors import failure
from pegasus_toolkit.transfer.clients.gridftp.wire import Session
from pegasus_toolkit.transfer.errors import Cancelled, Side


class Opens(Protocol):
    """One of the two servers."""

    def session(self, data: bool) -> Session:
        """One more connection; ``data``: that data connections belong to."""


class Pair:
    """Two connections whose servers send each other files, one after the other over one data connection."""

    def __init__(self, reader: Opens, writer: Opens, tick: Callable[[], None]) -> None:
        """``tick``: called now and then meanwhile, raises to give up."""
        self._reader = reader
        self._writer = writer
        self.tick = tick
        self.sending: Channel | None = None
        self.storing: Channel | None = None

    def introduce(self, patience: float) -> tuple[Channel, Channel]:
        """Tells each server of the other."""
        self.close()
        self.storing = Channel(self._writer.session(data=True), patience)
        self.sending = Channel(self._reader.session(data=True), patience)
        self.storing.agree("E", _expected(self.storing, self.sending))
        host, port = spot(self.storing.session.ask(passive(self.storing.session)), self.storing.session)
        self.sending.agree("E", _expected(self.sending, self.storing))
        self.sending.must(f"PORT {host.replace('.', ',')},{port >> 8},{port & 255}")
        return self.sending, self.storing

    def close(self) -> None:
        """Idempotent."""
        for channel in (self.sending, self.storing):
            if channel is not None:
                with suppress(OSError):
                    channel.close()
        self.sending = self.storing = None


class Third:
    """A request: a file from ``path`` there to ``name`` here. The answer says nothing more."""

    def __init__(self, pair: Pair, path: str, name: str) -> None:
        self.pair = pair
        self.path = path
        self.name = name
        self.stopped = False

    def move(self, patience: float) -> None:
        """Once the two are connected, the sending server is asked only when the other is ready."""
        if self.stopped:
            raise Cancelled("the batch was given up")
        pair = self.pair
        first = pair.sending is None or pair.storing is None
        try:
            if pair.sending is None or pair.storing is None:
                pair.introduce(patience)
            assert pair.sending is not None and pair.storing is not None
            sending, storing = pair.sending.session, pair.storing.session
            storing.send(f"STOR {self.name}")
            if not first:
                _begun(storing, self.name, "destination")
            sending.send(f"RETR {self.path}")
            if first:
                self._first(sending, storing, patience)
            else:
                _begun(sending, self.path, "source")
            self._both(sending, storing)
        except BaseException:
            pair.close()  # one of the two may still wait for the other
            raise

    def _first(self, sending: Session, storing: Session, patience: float) -> None:
        """Neither says that it begins before both are connected; one may say why it does not."""
        storing.flush()
        sending.flush()
        socks = [storing.link.sock, sending.link.sock]
        ready, _, _ = select.select(socks, [], [], patience)
        if socks[0] in ready:
            _begun(storing, self.name, "destination")
        _begun(sending, self.path, "source")
        if socks[0] not in ready:
            _begun(storing, self.name, "destination")

    def _both(self, sending: Session, storing: Session) -> None:
        ends: list[tuple[Session, str, Side]] = [
            (sending, self.path, "source"),
            (storing, self.name, "destination"),
        ]
        for session, path, side in ends:
            while (reply := session.reply()).preliminary:
                self.pair.tick()
            if not reply.good:
                raise failure(reply, session.url + path, session.host, side=side)


def _expected(at: Channel, other: Channel) -> str:
    """Who that server must find at the other end, as ``DCAU`` says it."""
    ours, theirs = at.session.guard, other.session.guard
    if ours is None or theirs is None or ours.theirs.subject == theirs.theirs.subject:
        return "A"
    return f"S {theirs.theirs.subject}"


def _begun(session: Session, path: str, side: Side) -> None:
    """Waits until the transfer begins. Raises what the server says instead."""
    while (reply := session.reply()).preliminary and reply.code not in (125, 150):
        pass
    if not reply.preliminary:
        raise failure(reply, session.url + path, session.host, side=side)
