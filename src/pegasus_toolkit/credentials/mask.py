"""Secrets taken out of texts by their value, whoever put them there.

A server may repeat a password, a header or a token in its answer, which then stands in an error's text.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from pegasus_toolkit.credentials.secret import REDACTED, Secret

SHORTEST = 4  # letters; a shorter one would blot out half of every text
BEGINNING = 8  # letters of a secret that are told apart from other words
_KEYS = re.compile(
    r"header\..*|.*(passw|passphrase|pwd|token|secret|sas|api_?key|account_?key|connection_string).*"
)
AWS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_USER = re.compile(r"//([^/@]*):([^/@]*)@")


class Mask:
    """The secrets of one run, as they are met."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._texts: set[str] = set()
        self._ordered: tuple[str, ...] = ()
        for name in AWS:
            self.add(environ.get(name, ""))
        for name, value in environ.items():
            if name.startswith("BEARER_TOKEN") and not name.startswith("BEARER_TOKEN_FILE"):
                self.add(value)
            elif name.lower().endswith("_proxy") or name == "OSG_SQUID_LOCATION":
                for user, password in _USER.findall(value):
                    self.pair(user, password)

    def section(self, values: Mapping[str, Secret]) -> None:
        """Takes in what is secret of a section of a credentials file."""
        lower = {key.lower(): value.reveal() for key, value in values.items()}
        for key, value in lower.items():
            if _KEYS.fullmatch(key) and value != "discover":
                self.add(value)
        if password := lower.get("password"):
            self.pair(lower.get("username") or lower.get("user", ""), password)

    def pair(self, user: str, password: str) -> None:
        """A password, and what it looks like in a header."""
        self.add(password)
        self.add(base64.b64encode(f"{user}:{password}".encode()).decode())

    def add(self, text: str) -> None:
        """Takes in one secret, in all forms in which others may write it."""
        if len(text) >= SHORTEST and text not in self._texts:
            self._texts.update(_forms(text))
            self._ordered = tuple(sorted(self._texts, key=len, reverse=True))

    def __call__(self, text: str, more: Iterable[str] = ()) -> str:
        """``text`` without them, and without what ``more`` names."""
        for secret in self._ordered:
            text = _without(text, secret)
        for secret in more:
            if len(secret) >= SHORTEST:
                text = _without(text, secret)
        return text


def _without(text: str, secret: str) -> str:
    if secret in text:
        text = text.replace(secret, REDACTED)
    if secret[:BEGINNING] in text and len(secret) > BEGINNING:  # an answer that was cut in the middle of it
        for length in range(len(secret) - 1, BEGINNING - 1, -1):
            if text.endswith(secret[:length]):
                return text[:-length] + REDACTED
    return text


def _forms(text: str) -> Iterator[str]:
    yield text
    yield quote(text, safe="")
    import json  # not at every start: few runs know a secret

    yield json.dumps(text)[1:-1]
    word, _, rest = text.partition(" ")  # "Bearer abc": a server may repeat the second word alone
    if word.lower() in ("bearer", "basic", "token") and len(rest) >= SHORTEST:
        yield rest
