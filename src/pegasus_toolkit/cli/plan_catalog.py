"""Site catalogs that are kept for all users of a computing centre (``pegasus.catalog.site.repo.file``)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pegasus_toolkit.planner.model import Problem

_START = "pegasus.catalog.site.repo"
_REPOSITORY = "https://raw.githubusercontent.com/pegasushub/pegasus-site-catalogs"
_BRANCH = "5.1"  # of Pegasus' version whose catalogs are read here
_INTERVAL = "86400"  # seconds that a copy counts as new


def fetch(values: Mapping[str, str], environ: Mapping[str, str], cwd: str) -> tuple[list[Problem], list[str]]:
    """Brings the catalog that the properties name into ``cwd``, unless a new copy is there.

    Gives what is wrong, and warnings: where the catalog cannot be had, an older copy serves.
    """
    named = values.get(f"{_START}.file", "")
    interval = values.get(f"{_START}.interval", _INTERVAL)
    if not named:
        return [], []
    if not interval.isdecimal():
        message = f"expected a number of seconds, found {interval!r}"
        return [Problem("properties", (f"{_START}.interval",), message)], []
    path = Path(cwd, named)
    if path.exists() and time.time() - path.stat().st_mtime < int(interval):
        return [], []
    url = f"{values.get(f'{_START}', _REPOSITORY).rstrip('/')}/{_BRANCH}/conf/{path.name}"
    error = _download(url, path, environ)
    if not error:
        return [], []
    if path.exists():
        return [], [f"{url} cannot be had ({error}): the copy that is there serves"]
    hint = f"put the file there by hand: {path}"
    return [Problem("properties", (f"{_START}.file",), f"{url} cannot be had: {error}", hint=hint)], []


def _download(url: str, path: Path, environ: Mapping[str, str]) -> str:
    """What went wrong; "" for nothing."""
    from pegasus_toolkit.credentials import CredentialError, Credentials
    from pegasus_toolkit.transfer import Engine, Options, Outcome, Progress, Settings, Transfer
    from pegasus_toolkit.transfer import url as urls
    from pegasus_toolkit.transfer.errors import BadSpecification

    class Last:
        error = ""

        def settled(self, outcomes: Sequence[Outcome]) -> None:
            self.error = str(outcomes[-1].error or "")

        def tick(self, progress: Progress) -> None:
            """Only outcomes count here, not the time between them."""

    last = Last()
    try:
        source = urls.parse(url, "web", environ, 0)
        here = urls.parse(f"file://{path}".replace("$", "$$"), "local", {}, 0)
        settings = Settings(Credentials.load(environ), environ)
    except (BadSpecification, CredentialError) as error:
        return str(error)
    wanted = Transfer(id=1, lfn=path.name, linkage="input", sources=(source,), destinations=(here,))
    summary = Engine(Options(attempts=2), settings, [last]).run([wanted])
    return last.error or ("" if not summary.exit_code else "the transfer failed")
