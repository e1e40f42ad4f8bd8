"""Defaults of options out of files.

A file has a line ``option = value`` for each, named as on the command line, and comments after ``#``. Only
limits, checks and the form of the log can be set so: nothing that says what is moved, or where anything is
written, as the file of a directory may be somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

OPTIONS = frozenset(
    {"threads", "max-attempts", "digest", "bandwidth", "min-rate", "per-host", "streams", "connect-timeout"}
    | {"stall-timeout", "patience", "progress", "log-format"}
)


class BadDefaults(Exception):
    """A file that cannot be used: which, which line, and why."""


def read(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What the files say, as words of a command line, each with its place. Raises ``BadDefaults``."""
    for path in paths:
        try:
            text = Path(path).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeError) as error:
            raise BadDefaults(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
        for number, line in enumerate(text.splitlines(), 1):
            place = f"{path}:{number}"
            name, equals, value = (part.strip() for part in line.partition("#")[0].partition("="))
            if not name and not equals:
                continue
            if name not in OPTIONS:
                raise BadDefaults(f"{place}: {_unknown(name)}")
            if not value:
                raise BadDefaults(f"{place}: {name} has no value")
            yield place, f"--{name}={value}"


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, OPTIONS, 1)
    hint = f"did you mean {near[0]}?" if near else f"it may be {', '.join(sorted(OPTIONS))}"
    return f"{name!r} cannot be set here; {hint}"
