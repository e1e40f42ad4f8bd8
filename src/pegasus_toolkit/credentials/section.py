"""Reading one section of a credentials file: keys in any case, words, paths."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import check_private, line_of
from pegasus_toolkit.credentials.secret import Secret


class Section:
    """One section, for reading. Errors name file, section and key, never a value."""

    def __init__(self, values: dict[str, Secret], name: str, path: Path, home: str) -> None:
        self.name = name
        self.path = path
        self.home = home
        self.values: dict[str, Secret] = {}
        for key, value in values.items():
            folded = key.lower()
            if folded in self.values:
                raise self.error("the same key twice, in different case")
            self.values[folded] = value
        self.spelling = {key.lower(): key for key in values}

    def error(self, what: str, hint: str = "") -> CredentialError:
        """An error that says where."""
        return CredentialError(f"credentials file {self.path}, section [{self.name}]: {what}", hint)

    def secret(self, key: str) -> Secret | None:
        """``None`` where it is missing or empty."""
        return self.values.get(key) or None

    def required(self, key: str) -> Secret:
        """Raises where it is missing or empty."""
        found = self.secret(key)
        if found is None:
            raise self.error(f"no {key}")
        return found

    def text(self, key: str) -> str:
        """A value on one line that is no secret; "" where it is missing."""
        found = self.secret(key)
        return "" if found is None else self.one_line(key, found).reveal()

    def one_line(self, key: str, value: Secret) -> Secret:
        """The value; raises where it holds a line end or another control character."""
        if has_control(value):
            raise self.error(f"{key} holds a line end or another control character")
        return value

    def insecure(self) -> bool:
        """Whether ``verify = no`` stands there."""
        answer = {"": False, "yes": False, "no": True}.get(self.text("verify").lower())
        if answer is None:
            raise self.error("verify is neither yes nor no")
        return answer

    def flag(self, key: str) -> bool:
        """Whether ``key = yes`` stands there; raises for a word that is neither yes nor no."""
        answer = {"": False, "yes": True, "no": False}.get(self.text(key).lower())
        if answer is None:
            raise self.error(f"{key} is neither yes nor no")
        return answer

    def file(self, key: str, private: bool = False) -> str:
        """Absolute path of a file that is there; ``~/`` is the home, else relative to this file."""
        text = self.text(key)
        if not text:
            return ""
        path = Path(self.home, text[2:]) if text.startswith("~/") else self.path.absolute().parent / text
        if private:
            check_private(path, f"{key} of [{self.name}] in {self.path}")
        elif not path.is_file():
            raise self.error(f"{key} is not a file: {path}")
        return str(path)

    def only(self, known: Collection[str], prefix: str = "") -> None:
        """Raises when there is a key that is not known: a misspelt one must not be ignored in silence.

        The key itself is not shown, as it may be a piece of a secret that a line end cut in two.
        """
        unknown = [key for key in self.values if key not in known and not (prefix and key.startswith(prefix))]
        if unknown:
            names = ", ".join(sorted((*known, f"{prefix}NAME") if prefix else known))
            line = line_of(self.path, self.name, self.spelling[unknown[0]])
            raise self.error(f"the key in line {line} is not known", f"known are: {names}")

    def prefixed(self, prefix: str) -> Iterator[tuple[str, Secret]]:
        """Keys that begin so, without the prefix and in their own case, with their values."""
        for key, value in self.values.items():
            if key.startswith(prefix):
                yield self.spelling[key][len(prefix) :], value


def has_control(value: Secret) -> bool:
    """Whether there is a line end or another control character in it."""
    return any(ord(c) < 32 or ord(c) == 127 for c in value.reveal())
