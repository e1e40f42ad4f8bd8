"""Bearer tokens that are read again: one of twenty minutes carries a run of hours where it is renewed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pegasus_toolkit.credentials import CredentialError, Token
from pegasus_toolkit.credentials.files import Stamp, stamp
from pegasus_toolkit.transfer.errors import Denied
from pegasus_toolkit.transfer.interface import Identity


class LiveToken:
    """The token of this moment: looked up again when its file has changed, or when a server refused it.

    What is found then counts as if the run had begun with it. May be used by many threads.
    """

    def __init__(self, token: Token, look_up: Callable[[], Token | None], host: str = "") -> None:
        """``look_up`` finds the token of this moment, ``token`` the first time."""
        self.token = token
        self._look_up = look_up
        self._host = host
        self._lock = threading.Lock()
        self._stamp = stamp(token.path) if token.path else None

    def line(self) -> str:
        """The header's line. Raises ``Denied`` where the file that was renewed holds nothing of use."""
        seen = stamp(self.token.path) if self.token.path else None
        if seen is not None and seen != self._stamp:
            with self._lock:
                self._again(seen)
        return f"Authorization: Bearer {self.token.secret.reveal()}"

    def identity(self) -> Identity:
        """Where the token comes from, when it expires and what it allows; never the token itself."""
        token = self.token
        return Identity("bearer token", token.origin, token.expires, token.scopes, token.audience)

    def another(self, line: str) -> bool:
        """After a server refused what ``line`` holds: whether another token is there now."""
        with self._lock:
            self._again(stamp(self.token.path) if self.token.path else None)
        return self.line() != line

    def _again(self, seen: Stamp | None) -> None:
        try:
            found = self._look_up()
        except CredentialError as error:
            raise Denied(error.message, host=self._host, hint=error.hint) from None
        if found is None or (found.path != self.token.path and seen is not None):
            return  # the file is just being written: what was in it may still be good
        self._stamp = seen if found.path == self.token.path else stamp(found.path)
        if found.secret.reveal() != self.token.secret.reveal():
            self.token = found
