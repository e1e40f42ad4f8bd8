"""Credential files: whether they may be trusted, and what stands in them.

Imported when the first credential is asked for, never before.
"""

from __future__ import annotations

import configparser
import errno
import os
import re
import shlex
import stat
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.secret import Secret

LIMIT = 1 << 20  # bytes; no credentials file is that large

Sections = dict[str, dict[str, Secret]]
Stamp = tuple[int, int, int]


class _Broken(NamedTuple):
    """Where a file cannot be understood (line 1 is the first), and why; nothing of its content."""

    line: int
    why: str


def read(path: Path, origin: str) -> Sections:
    """The sections of a credentials file, every value a secret, the names of keys as written.

    ``origin`` says in errors what named the file. A ``%`` is just a character; what stands in
    ``[DEFAULT]`` counts for every section. Raises :class:`CredentialError`.
    """
    parsed = _parse(read_private(path, origin))
    if isinstance(parsed, _Broken):
        raise CredentialError(f"{described(path, origin)}, line {parsed.line}: {parsed.why}")
    return parsed


def stamp(path: str | Path) -> Stamp | None:
    """Changes when the file does; ``None`` where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116  at every request: a Path costs more than the call
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def line_of(path: Path, section: str, key: str) -> int:
    """The line of a key in its section (or in ``[DEFAULT]``); 0 where it is not found again."""
    here = ""
    for number, line in enumerate(read_private(path, "").decode("utf-8-sig").splitlines(), start=1):
        text = line.strip()
        if text.startswith("[") and "]" in text:
            here = text[1 : text.index("]")]
        elif here in (section, "DEFAULT") and re.split("[=:]", text, maxsplit=1)[0].strip() == key:
            return number
    return 0


def read_private(path: Path, origin: str) -> bytes:
    """The content of a file that only its owner can open. Raises :class:`CredentialError`."""
    descriptor = _open_private(path, origin)
    try:
        content = os.read(descriptor, LIMIT + 1)
    finally:
        os.close(descriptor)
    if len(content) > LIMIT:
        del content
        raise CredentialError(f"{described(path, origin)} is larger than {LIMIT} bytes")
    return content


def check_private(path: Path, origin: str) -> None:
    """Raises :class:`CredentialError` unless the file is there, ours, and closed to everyone else."""
    os.close(_open_private(path, origin))


def described(path: Path, origin: str) -> str:
    """The file as errors call it."""
    return f"credentials file {path} ({origin})" if origin else f"credentials file {path}"


def _open_private(path: Path, origin: str) -> int:
    """Opened first and looked at then, so that what is checked is what is read."""
    name = described(path, origin)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        why = "does not exist" if missing else f"cannot be read: {error.strerror}"
        raise CredentialError(f"{name} {why}") from None
    problem = _problem(os.fstat(descriptor), path)
    if problem is not None:
        os.close(descriptor)
        raise CredentialError(f"{name} {problem[0]}", problem[1])
    return descriptor


def _problem(status: os.stat_result, path: Path) -> tuple[str, str] | None:
    """What speaks against trusting the file, and what mends it."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file", ""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user (uid {status.st_uid})", "use a file of your own"
    if mode & 0o077:
        return f"can be accessed by others (mode {mode:04o})", f"chmod 600 {shlex.quote(str(path))}"
    return None


class _Parser(configparser.RawConfigParser):
    """Keeps the case of keys: they may be names of headers."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _parse(content: bytes) -> Sections | _Broken:
    """Never raises: an exception of the parser, and the frames it came through, hold the content."""
    parser = _Parser()
    try:
        parser.read_string(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return _Broken(content.count(b"\n", 0, error.start) + 1, "is not UTF-8")
    except configparser.Error as error:
        return _why(error)
    return {name: {k: Secret(v) for k, v in parser.items(name)} for name in parser.sections()}


def _why(error: configparser.Error) -> _Broken:
    """The parser's error without what it quotes."""
    match error:
        case configparser.MissingSectionHeaderError():
            return _Broken(error.lineno, "stands before the first [section]")
        case configparser.DuplicateSectionError():
            return _Broken(error.lineno or 0, "the same [section] for the second time")
        case configparser.DuplicateOptionError():
            return _Broken(error.lineno or 0, "the same key for the second time in its section")
        case configparser.ParsingError():
            return _Broken(error.errors[0][0], "is neither [section] nor key = value")
        case _:
            return _Broken(0, "cannot be understood")
