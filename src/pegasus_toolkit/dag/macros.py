"""``$(name)`` in submit files, and what else begins with a dollar there."""

from __future__ import annotations

import os.path
import re
from collections.abc import Callable, Mapping

from pegasus_toolkit.dag.words import Wrong

# $$(...) is the slot's business; $NAME(...) is a function of HTCondor's.
_BEGIN = re.compile(r"\$\$\(|\$([A-Za-z_][A-Za-z0-9_]*)?\(")
_DEEPEST = 100


def expand(text: str, macros: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """``text`` with all macros in; ``macros``: by lower-case name, themselves with macros in them.

    A macro that is not there is nothing, as for condor_submit. Raises :class:`Wrong` for one that needs
    itself, and for functions that are not known here.
    """
    return _expand(text, macros, environ, 0).replace("\0", "$")


def with_own(text: str, name: str, before: str) -> str:
    """``text`` with ``$(name)`` in it replaced now, as an assignment to ``name`` itself needs it."""
    pattern = re.compile(r"\$\(\s*" + re.escape(name) + r"\s*(?::[^()]*)?\)", re.IGNORECASE)
    return pattern.sub(lambda _: before, text)


def _expand(text: str, macros: Mapping[str, str], environ: Mapping[str, str], depth: int) -> str:
    if depth > _DEEPEST:
        raise Wrong(f"a macro needs itself: {text[:60]!r}")
    found: list[str] = []
    at = 0
    while match := _BEGIN.search(text, at):
        end = _close(text, match.end())
        found.append(text[at : match.start()])
        inner = text[match.end() : end]
        if match[0].startswith("$$"):
            raise Wrong(f"$$({inner}) is known only where HTCondor has matched the job")
        inside = _expand(inner, macros, environ, depth + 1) if "$" in inner else inner
        if match[1]:
            found.append(_function(match[1], inside, macros, environ, depth))
        else:
            found.append(_macro(inside, macros, environ, depth))
        at = end + 1
    found.append(text[at:])
    return "".join(found)


def _close(text: str, at: int) -> int:
    depth = 1
    for end in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if not depth:
            return end
    raise Wrong(f"a macro has no end: {text[:60]!r}")


def _macro(inner: str, macros: Mapping[str, str], environ: Mapping[str, str], depth: int) -> str:
    name, colon, default = inner.partition(":")
    name = name.strip().lower()
    if name == "dollar":
        return "\0"  # no macro begins with it any more
    value = macros.get(name)
    if value is None:
        return default if colon else ""
    return _expand(value, macros, environ, depth + 1) if "$" in value else value


def _function(
    name: str, inner: str, macros: Mapping[str, str], environ: Mapping[str, str], depth: int
) -> str:
    if name.upper() == "ENV":
        variable, colon, default = inner.partition(":")
        if variable.strip() not in environ and not colon:
            raise Wrong(f"the environment has no {variable.strip()}")
        return environ.get(variable.strip(), default)
    parts = [one.strip() for one in inner.split(",")]
    value = macros.get(parts[0].lower())
    path = parts[0] if value is None else _expand(value, macros, environ, depth + 1)
    if name.upper() in ("BASENAME", "DIRNAME"):
        base = os.path.basename(path)  # noqa: PTH119  a text, not a file
        if name.upper() == "DIRNAME":
            return path[: len(path) - len(base)]
        return base.removesuffix(parts[1]) if len(parts) > 1 else base
    if name[0] == "F" and set(name[1:]) <= set("pdnxqbfw"):
        return _path_parts(path, name[1:])
    raise Wrong(f"${name}({inner}) is not supported")


def _path_parts(path: str, letters: str) -> str:
    """``$Fpnx(...)``: directory, name, extension; q quotes, b leaves out the dot or the last slash."""
    directory, _, base = path.rpartition("/")
    stem, dot, extension = base.rpartition(".")
    stem, extension = (stem, dot + extension) if dot and stem else (base, "")
    bare = "b" in letters
    parts: Mapping[str, Callable[[], str]] = {
        "p": lambda: directory + ("" if bare or not directory else "/"),
        "d": lambda: directory.rpartition("/")[2] + ("" if bare or not directory else "/"),
        "n": lambda: stem,
        "x": lambda: extension.lstrip(".") if bare else extension,
    }
    wanted = [letter for letter in "pdnx" if letter in letters]
    text = "".join(parts[letter]() for letter in wanted) if wanted else path
    if "f" in letters:
        text = os.path.abspath(text)  # noqa: PTH100
    return f'"{text}"' if "q" in letters else text
