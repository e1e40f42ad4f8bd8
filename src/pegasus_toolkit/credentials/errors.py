"""What can be wrong with credentials."""

from __future__ import annotations


class CredentialError(Exception):
    """A credential that is missing, broken, or not protected. Never holds a secret.

    ``message``: what is wrong, naming file, section and key; ``hint``: what to do about it ("" where
    the message says it).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """Both on one line, control characters escaped."""
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
