"""HPSS (``hpss:///archive.tar/member``, ``hpss:///path``): read by ``htar`` and ``hsi``.

All members of one archive that are wanted come by one run, as a tape is read best. ``htar`` ends well though
members are missing, so what came is looked for. Both find their login in ``~/.netrc``: where
``HPSS_CREDENTIAL`` names another file, they get a home of their own with it; nobody's is overwritten.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.backends.shared.refusing import Refusing
from pegasus_toolkit.transfer.clients.programs import Programs, size, workspace
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Denied,
    NotFound,
    ServerFault,
    TransferError,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Identified,
    Identity,
    Job,
    Settings,
    Sink,
)

BATCH = 1000  # members of one run
_QUOTABLE = re.compile(r"[^\x00-\x1f\"'\\`$;|&<>*?\[\]{}!]+")  # what hsi's own language leaves alone


class Hpss(Refusing):
    """One HPSS, as the programs here are set up. Whole local files only; nothing is written."""

    abilities = Abilities(in_flight=BATCH, streams=False, threads=1)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.programs = Programs(settings.environ)
        try:
            self.netrc = settings.credentials.environment_file("HPSS_CREDENTIAL", endpoint.site)
        except CredentialError as error:
            raise Denied(error.message, host=endpoint.host, hint=error.hint) from None

    def _url(self, path: str) -> str:
        return f"hpss://{self.endpoint.authority}{path}"

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """One run for each archive; a plain file is a run of its own."""
        while batch := list(islice(jobs, BATCH)):
            archives: dict[str, dict[str, list[Job[Sink]]]] = {}
            for job in batch:
                try:
                    archive, name = self._split(job)
                    archives.setdefault(archive, {}).setdefault(name, []).append(job)
                except TransferError as error:
                    job.error = error
            for archive, wanted in archives.items():
                waiting = [job for some in wanted.values() for job in some]
                try:
                    self._extract(archive, wanted) if archive else self._fetch(wanted)
                except TransferError as error:
                    for job in waiting:
                        job.error = job.error or error
                except OSError as error:
                    for job in waiting:
                        job.error = job.error or from_oserror(error, side="destination")
            yield from batch

    def _split(self, job: Job[Sink]) -> tuple[str, str]:
        """Archive and member; of a plain file "" and its path. Raises ``BadSpecification``."""
        if job.end.file is None:
            raise Unsupported("htar and hsi only fill whole local files", url=self._url(job.path))
        parts = f"{self.endpoint.authority}{job.path}".strip("/").split("/")
        at = next((n for n, part in enumerate(parts[:-1]) if part.endswith(".tar")), None)
        if ".." in parts or "" in parts or any("\n" in part for part in parts):
            raise BadSpecification("no path that HPSS has", url=self._url(job.path))
        if at is not None:  # by itself it is relative to the user's directory there, as in upstream
            archive = "/".join(parts[: at + 1])
            return archive if at == 0 else f"/{archive}", "/".join(parts[at + 1 :])
        path = "/" + "/".join(parts)
        if not _QUOTABLE.fullmatch(path):
            raise BadSpecification("hsi cannot be told this name", url=self._url(job.path))
        return "", path

    def _extract(self, archive: str, wanted: Mapping[str, list[Job[Sink]]]) -> None:
        """By ``htar``, to a directory beside where the first is to be."""
        htar = self._find("htar")
        first = next(iter(wanted.values()))[0].end
        assert first.file is not None
        with self._home() as more, _beside(first.file) as into, workspace() as lists:
            listed = lists / "members"
            listed.write_text("".join(f"{name}\n" for name in wanted), errors="surrogateescape")
            words = [htar, "-xf", archive, "-L", str(listed)]
            ended = self.programs.run(
                words, first.passed, moved=lambda: _bytes(into), cwd=str(into), more=more
            )
            for name, jobs in wanted.items():
                for job in jobs:
                    if ended.status and not (into / name).is_file():
                        text = f"htar: {ended.line()}"
                        job.error = ServerFault(text, url=self._url(job.path), side="source")
                    else:
                        self._take(into, name, job, last=job is jobs[-1])

    def _fetch(self, wanted: Mapping[str, list[Job[Sink]]]) -> None:
        """By ``hsi``, which has a language of its own: names that mean something there were refused."""
        hsi = self._find("hsi")
        for path, jobs in wanted.items():
            file = jobs[0].end.file
            assert file is not None
            with self._home() as more, _beside(file) as into:
                words = [hsi, "-q", f'get "file" : "{path}"']
                moved = partial(_bytes, into)
                ended = self.programs.run(words, jobs[0].end.passed, moved=moved, cwd=str(into), more=more)
                for job in jobs:
                    if ended.status:
                        text = f"hsi: {ended.line()}"
                        job.error = ServerFault(text, url=self._url(job.path), side="source")
                    else:
                        self._take(into, "file", job, last=job is jobs[-1])

    def _take(self, into: Path, name: str, job: Job[Sink], last: bool) -> None:
        """Only a regular file is one: an archive may hold links to anywhere."""
        assert job.end.file is not None
        found = into / name
        if found.is_symlink() or not found.is_file() or into.resolve() not in found.resolve().parents:
            job.error = NotFound("no such file", url=self._url(job.path), side="source")
        elif last:
            shutil.move(found, job.end.file)
        else:
            shutil.copyfile(found, job.end.file)

    def _find(self, name: str) -> str:
        found = self.programs.find(name)
        if not found:
            hint = "HPSS sites give it to their users"
            raise Unsupported(f"needs {name}, which is not on PATH here", url=self._url("/"), hint=hint)
        return found

    @contextmanager
    def _home(self) -> Iterator[dict[str, str]]:
        """The variables by which the programs find the login."""
        if self.netrc is None:
            yield {}
            return
        with workspace() as home:
            copy = home / ".netrc"
            copy.touch(0o600)
            copy.write_bytes(self.netrc.read_bytes())
            yield {"HOME": str(home)}

    def identity(self) -> Identity:
        """Which file the login is in."""
        return Identity("login", f"HPSS_CREDENTIAL {self.netrc}" if self.netrc else "~/.netrc")

    def cannot(self, what: str, path: str) -> Unsupported:
        """As Pegasus."""
        return Unsupported(f"HPSS is only read here: cannot {what}", url=self._url(path))

    def close(self) -> None:
        """Ends the run that is under way."""
        self.programs.close()


@contextmanager
def _beside(file: str) -> Iterator[Path]:
    """A private directory from which a rename is all that is left."""
    with tempfile.TemporaryDirectory(prefix=".pegasus-hpss-", dir=Path(file).absolute().parent) as directory:
        yield Path(directory)


def _bytes(directory: Path) -> int:
    return sum(size(found) for found in directory.rglob("*"))


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Starts nothing yet."""
    return Hpss(endpoint, settings)


_: type[Backend] = Hpss
_identified: type[Identified] = Hpss
