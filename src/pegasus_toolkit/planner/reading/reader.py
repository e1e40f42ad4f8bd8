"""Takes values out of a document, and says of each that is wrong where it stands and what was expected."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from pegasus_toolkit.planner.catalogs import Checksum, Hook, Path, Profiles
from pegasus_toolkit.planner.model import Problem

T = TypeVar("T")
UNKNOWN_KEY = "unknown key"
_LINES = ("glite.arguments",)  # profiles that people write in several lines
NAMESPACES = ("pegasus", "condor", "dagman", "env", "globus", "selector", "stat", "hints")

EVENTS = ("start", "success", "error", "end", "all", "never")
_FLAGS = {"true": True, "false": False, "yes": True, "no": False}
_WHOLE = re.compile(r"[0-9]{1,18}")
_BRACED = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LENGTHS = {"sha256": 64, "sha512": 128, "sha384": 96, "sha224": 56, "sha1": 40, "md5": 32, "blake3": 64}


class Reader:
    """For one file. ``problems`` and ``warnings`` grow; the methods give what is right, or an empty value.

    ``environ``: for ``${NAME}`` in places; ``base``: the directory that relative paths begin at.
    ``deferred``: what is wrong with places and values, by path; in a site that is not used it is nobody's.
    """

    def __init__(self, file: str, environ: Mapping[str, str], base: str) -> None:
        self.file = file
        self.environ = environ
        self.base = base
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.deferred: list[tuple[Path, str]] = []

    def wrong(self, path: Path, message: str, hint: str = "") -> None:
        """Notes a problem."""
        self.problems.append(Problem(self.file, path, message, hint=hint))

    def warn(self, path: Path, message: str) -> None:
        """Notes something that is left alone."""
        self.warnings.append(str(Problem(self.file, path, message)))

    def mapping(self, value: Any, path: Path, known: Collection[str] = ()) -> dict[str, Any]:
        """Where ``known`` is given, any other key is a problem, but for those that begin with ``x-``."""
        if not isinstance(value, dict):
            self.wrong(path, f"expected keys and values, found {described(value)}")
            return {}
        for key in value if known else ():
            if key not in known and not key.startswith("x-"):
                self.wrong((*path, key), UNKNOWN_KEY, nearest(key, known))
        return value

    def items(self, owner: dict[str, Any], key: str, path: Path) -> list[Any]:
        """A list; empty where there is none."""
        value = owner.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong((*path, key), f"expected a list, found {described(value)}")
            return []
        return value

    def each(self, owner: dict[str, Any], key: str, path: Path, read: Callable[..., T]) -> tuple[T, ...]:
        """What ``read`` makes of each thing in a list."""
        items = enumerate(self.items(owner, key, path))
        return tuple([read(self, one, (*path, key, n)) for n, one in items])

    def text(self, owner: dict[str, Any], key: str, path: Path, required: bool = False) -> str:
        """One line of text; "" where there is none."""
        value = owner.get(key)
        if value is None:
            if required:
                self.wrong((*path, key), "expected, but there is no such key")
            return ""
        if not isinstance(value, str):
            self.wrong((*path, key), f"expected text, found {described(value)}")
            return ""
        if not value.isprintable() and CONTROL.search(value):
            self.wrong((*path, key), f"expected text without control characters, found {value!r}")
        if required and not value:
            self.wrong((*path, key), "expected text, found an empty one")
        return value

    def flag(self, owner: dict[str, Any], key: str, path: Path, default: bool) -> bool:
        """True or false, in the spellings of YAML."""
        value = owner.get(key)
        if value is None:
            return default
        found = _FLAGS.get(value.lower()) if isinstance(value, str) else None
        if found is None:
            self.wrong((*path, key), f"expected true or false, found {described(value)}")
        return default if found is None else found

    def whole(self, owner: dict[str, Any], key: str, path: Path) -> int | None:
        """A whole number from 0 on; ``None`` where there is none."""
        value = owner.get(key)
        if value is None:
            return None
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
        self.wrong((*path, key), f"expected a whole number, found {described(value)}")
        return None

    def choice(
        self, owner: dict[str, Any], key: str, path: Path, choices: Iterable[str], default: str
    ) -> str:
        """One of ``choices``."""
        value = self.text(owner, key, path)
        if value and value not in choices:
            self.wrong((*path, key), f"expected one of {', '.join(choices)}, found {value!r}")
        return value if value in choices else default

    def table(self, owner: dict[str, Any], key: str, path: Path) -> dict[str, str]:
        """Text under keys; a value that is no text (a list, say) is a problem."""
        value = owner.get(key)
        if value is None:
            return {}
        return {
            name: text if isinstance(text, str) else self.text({name: text}, name, (*path, key)) or ""
            for name, text in self.mapping(value, (*path, key)).items()
        }

    def profiles(self, owner: dict[str, Any], path: Path) -> Profiles:
        """What stands under ``profiles``."""
        if owner.get("profiles") is None:
            return {}
        spaces = self.mapping(owner["profiles"], (*path, "profiles"), NAMESPACES)
        found: dict[str, dict[str, str]] = {}
        for space in spaces:
            name = "selector" if space == "hints" else space
            for key in spaces[space] if space != "env" and isinstance(spaces[space], dict) else ():
                if key not in _LINES:
                    self.text(spaces[space], key, (*path, "profiles", space))  # one line each
            table = self.table(spaces, space, (*path, "profiles"))
            expanded = {k: self.expanded(v, (*path, "profiles", space, k)) for k, v in table.items()}
            found[name] = {**found.get(name, {}), **lowered(name, expanded)}
        return found

    def expanded(self, value: str, path: Path) -> str:
        """With ``${NAME}`` replaced; a variable that is not set is a problem."""
        if "${" not in value:
            return value

        def replace(match: re.Match[str]) -> str:
            if not self.environ.get(match[1]):
                self.deferred.append((path, f"the variable ${{{match[1]}}} is not set or empty"))
            return self.environ.get(match[1], "")

        return _BRACED.sub(replace, value)

    def url(self, owner: dict[str, Any], key: str, path: Path, required: bool = True) -> str:
        """A URL; a local path becomes one. Its letters, ``$`` too, stand for themselves."""
        value = self.expanded(self.text(owner, key, path, required), (*path, key))
        return local_url(value, self.base) if value else ""

    def hooks(self, owner: dict[str, Any], path: Path) -> tuple[Hook, ...]:
        """``hooks: {shell: [{_on: EVENT, cmd: COMMAND}]}``; those for no event are left out."""
        if owner.get("hooks") is None:
            return ()
        path = (*path, "hooks")
        kinds = self.mapping(owner["hooks"], path, ("shell",))
        found = []
        for n, one in enumerate(self.items(kinds, "shell", path)):
            here = (*path, "shell", n)
            hook = self.mapping(one, here, ("_on", "cmd"))
            on = self.choice(hook, "_on", here, EVENTS, "never")
            found.append(Hook(on, self.text(hook, "cmd", here, required=True)))
        return tuple(hook for hook in found if hook.on != "never")

    def checksum(self, owner: dict[str, Any], path: Path) -> Checksum | None:
        """``checksum: {sha256: HEX}``."""
        table = self.table(owner, "checksum", path)
        for type, value in table.items():
            where = (*path, "checksum", type)
            if type not in _LENGTHS:
                self.wrong(where, f"expected one of {', '.join(_LENGTHS)}")
            elif not re.fullmatch(f"[0-9a-fA-F]{{{_LENGTHS[type]}}}", value):
                self.wrong(where, f"expected {_LENGTHS[type]} hexadecimal digits, found {value!r}")
            else:
                return Checksum(type, value.lower())
        return None


def lowered(namespace: str, table: dict[str, str]) -> dict[str, str]:
    """With keys in lower case, where case means nothing; Pegasus' API writes ``RETRY``."""
    return {k.lower(): v for k, v in table.items()} if namespace in ("dagman", "condor") else table


def local_url(value: str, base: str) -> str:
    """``value``, or the ``file://`` URL of the local path that it is; ``base``: where relative ones begin.

    In a plan every letter of a local URL stands for itself; in catalogs ``%20`` is a space.
    """
    if value[:5].lower() != "file:":
        if _SCHEME.match(value):
            return value
        return "file://" + os.path.normpath(os.path.join(base, value))  # noqa: PTH118  text, no file is touched
    path = unquote(value[5:], errors="surrogateescape") if "%" in value else value[5:]
    if path.startswith("//"):
        path = path[2:].removeprefix("localhost")
    return "file://" + path if path.startswith("/") else "file://" + os.path.join(base, path)  # noqa: PTH118


def described(value: Any) -> str:
    """What was found, for an error."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"text {value!r}" if len(value) <= 60 else f"text {value[:60]!r}..."
    return "a list" if isinstance(value, list) else "keys and values"


def nearest(key: str, known: Iterable[str]) -> str:
    """A hint: what was probably meant, or all there is."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(key, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
