"""The one type that holds a secret, and never shows it by accident."""

from __future__ import annotations

from typing import NoReturn

REDACTED = "***"


class Secret:
    """A text that only :meth:`reveal` gives away.

    ``repr``, ``str`` and every format say ``***``; it refuses to be pickled or changed. Equality
    takes the same time wherever two secrets differ.
    """

    __slots__ = ("_text",)
    _text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_text", text)

    def reveal(self) -> str:
        """The secret itself: hand it on to the library that needs it, keep it nowhere."""
        return self._text

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._text)

    def __repr__(self) -> str:
        return REDACTED

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, specification: str) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        import hmac  # not needed for a transfer, and loads OpenSSL

        mine, theirs = self._text.encode("utf-8", "replace"), other._text.encode("utf-8", "replace")
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not pickled")
