"""``arguments`` and ``environment`` of a submit file, as HTCondor takes them apart: old syntax and new."""

from __future__ import annotations

from pegasus_toolkit.dag.words import Wrong


def arguments(value: str) -> list[str]:
    """The words of ``arguments``. Raises :class:`Wrong` for quotes that do not fit."""
    value = value.strip()
    if not value.startswith('"'):
        return [word.replace('\\"', '"') for word in value.split()]
    return _words(_unquoted(value))


def environment(value: str) -> dict[str, str]:
    """The variables of ``environment``. Raises :class:`Wrong` for what is no NAME=value."""
    value = value.strip()
    if value.startswith('"'):
        entries = _words(_unquoted(value))
    else:
        entries = [one.strip() for one in value.split(";") if one.strip()]
    found = {}
    for one in entries:
        name, equals, content = one.partition("=")
        if not name or not equals:
            raise Wrong(f"environment: expected NAME=value, found {one!r}")
        found[name] = content
    return found


def _unquoted(value: str) -> str:
    """What is between the outer double quotes; two of them within are one."""
    inner = value[1:-1]
    if len(value) < 2 or not value.endswith('"') or inner.replace('""', "").count('"'):
        raise Wrong(f'double quotes do not fit (within them, write ""): {value}')
    return inner.replace('""', '"')


def _words(text: str) -> list[str]:
    """Words between spaces; single quotes hold spaces, two of them within are one."""
    words: list[str] = []
    word: str | None = None
    at, quoted = 0, False
    while at < len(text):
        c = text[at]
        at += 1
        if quoted and c == "'" and text[at : at + 1] == "'":
            word, at = (word or "") + "'", at + 1
        elif c == "'":
            quoted, word = not quoted, word or ""
        elif c.isspace() and not quoted:
            words += [word] if word is not None else []
            word = None
        else:
            word = (word or "") + c
    if quoted:
        raise Wrong(f"a single quote has no end: {text}")
    return words if word is None else [*words, word]


def listed(value: str) -> list[str]:
    """A list of names, as in ``transfer_input_files``: between commas, without spaces at their ends."""
    return [one for part in value.split(",") if (one := part.strip())]
