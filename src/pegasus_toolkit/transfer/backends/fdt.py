"""FDT (``fdt://host:port/path``): the site's ``fdt.jar``, started from argument lists, many files in one run.

A run takes 7 to 10 seconds whatever the size, so that as many files as there are go together. The program has
one exit status for everything, and puts files by their last names, or by their paths below the directory that
all have in common: what came is looked for by both, and no two files of a run have the same last name.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pegasus_toolkit.transfer.backends.shared.refusing import Refusing
from pegasus_toolkit.transfer.clients.programs import Programs, size, workspace
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    ServerFault,
    TransferError,
    Unreachable,
    Unsupported,
    from_oserror,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Endpoint,
    Job,
    Requirement,
    Settings,
    Sink,
    Source,
)
from pegasus_toolkit.transfer.streams.checked import StreamVerifier

BATCH = 256  # files of one run
AGAIN = 6  # further runs after one that failed, to find out which file it was
MAIN = "lia.util.net.copy.FDTMain"


class Fdt(Refusing):
    """One server. Whole local files only; nothing is told of what is there."""

    abilities = Abilities(in_flight=BATCH, streams=False, threads=1)

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.settings = settings
        self.host, self.port = endpoint.address()
        self.url = f"fdt://{endpoint.host}"
        told = settings.credentials.options("fdt", endpoint.host, endpoint.site)
        known = {key: value.reveal() for key, value in told.items()}
        self.programs = Programs(settings.environ)
        self.java = known.get("java") or self.programs.find("java")
        self._java_words = self._words(known.get("jar", ""), endpoint.host)

    def _words(self, jar: str, host: str) -> list[str]:
        """How the program is started. Raises ``Unsupported`` for what is not there, and says what to do."""
        if not jar:
            hint = f"write jar = /path/fdt.jar into section [fdt://{host}] of the credentials file"
            raise Unsupported("no fdt.jar is named", url=self.url, hint=hint)
        if not Path(jar).is_file():
            raise Unsupported(
                f"the jar is not there: {jar}", url=self.url, hint="jar in the site's section names it"
            )
        if not self.java or not os.access(self.java, os.X_OK):
            hint = "install a Java runtime, or name it by java in the site's section"
            raise Unsupported(f"FDT needs Java: {self.java or 'java'} is not there", url=self.url, hint=hint)
        library = Path(jar).with_name("lib")
        if library.is_dir():
            return [self.java, "-cp", f"{jar}:{library}/*", MAIN]
        return [self.java, "-jar", jar]

    # -- runs ----------------------------------------------------------------------------------------

    def _run(self, words: Sequence[str], passed: Callable[[int], None], moved: Callable[[], int]) -> None:
        """One run. Raises ``Unreachable`` where nobody listens, ``ServerFault`` where it failed."""
        try:
            socket.create_connection((self.host, self.port), self.settings.connect_timeout).close()
        except OSError as error:
            raise Unreachable(f"no FDT server: {error}", url=self.url, host=self.host) from None
        streams = ["-P", str(self.settings.streams)]
        argv = [
            *self._java_words,
            "-c",
            self.host,
            "-p",
            str(self.port),
            "-noupdates",
            "-silent",
            *streams,
            *words,
        ]
        ended = self.programs.run(argv, passed, moved=moved)
        if ended.status:
            raise ServerFault(f"FDT: {ended.line()}", url=self.url, host=self.host)

    def _divided(self, jobs: list[Any], run: Callable[[list[Any]], list[Any]]) -> None:
        """Has ``run`` move them, which says which are missing; those in halves, as long as that may help."""
        todo, left = [jobs], AGAIN
        while todo:
            some, error = todo.pop(), None
            try:
                missing = run(some)
            except (Unreachable, ServerFault) as raised:
                missing, error = [job for job in some if not self._came(job)], raised
                left = 0 if isinstance(raised, Unreachable) else left
            if len(missing) > 1 and left > 0 and error is not None:
                half = len(missing) // 2
                todo += [missing[half:], missing[:half]]
                left -= 1
                continue
            for job in missing:
                text = "FDT did not move it, and does not say why"
                job.error = error or ServerFault(text, url=self.url + job.path, host=self.host)

    def _came(self, job: Job[Any]) -> bool:
        return isinstance(job, _Pulled) and job.came

    # -- pull ----------------------------------------------------------------------------------------

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """As many as there are in one run, but for those of one name."""
        while batch := list(islice(jobs, BATCH)):
            rest = [job for job in batch if self._may_pull(job)]
            while rest:
                names: dict[str, Job[Sink]] = {}
                for job in rest:
                    names.setdefault(_name(job.path), job)
                self._pull_all(list(names.values()))
                taken = set(map(id, names.values()))
                rest = [job for job in rest if id(job) not in taken]
            yield from batch

    def _may_pull(self, job: Job[Sink]) -> bool:
        try:
            self._check(job.path)
            if job.end.file is None:
                raise Unsupported("FDT can only fill whole local files", url=self.url + job.path)
        except TransferError as error:
            job.error = error
        return job.error is None

    def _check(self, path: str) -> None:
        if not _name(path) or "\0" in path or ".." in path.split("/"):
            raise BadSpecification("names no file", url=self.url + path)

    def _pull_all(self, jobs: list[Job[Sink]]) -> None:
        pulled = [_Pulled(job) for job in jobs]
        self._divided(list(pulled), self._pull)
        for one in pulled:
            one.job.error = one.error

    def _pull(self, jobs: list[_Pulled]) -> list[_Pulled]:
        """One run; those that did not come. Beside where they go: a rename is all that is left."""
        first = jobs[0].job
        beside = Path(first.end.file).absolute().parent
        with tempfile.TemporaryDirectory(prefix=".pegasus-fdt-", dir=beside) as into:
            words = ["-pull", "-d", into, *(job.path for job in jobs)]
            try:
                self._run(words, first.end.passed, lambda: _bytes(into))
            finally:
                common = os.path.commonpath([str(Path(job.path).parent) for job in jobs])
                for job in jobs:
                    job.take(into, common)
        return [job for job in jobs if not job.came]

    # -- push ----------------------------------------------------------------------------------------

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """A run for each directory at the server. FDT itself writes aside and renames."""
        while batch := list(islice(jobs, BATCH)):
            folders: dict[str, list[Job[Source]]] = {}
            for job in batch:
                try:
                    self._check(job.path)
                    if job.end.file is None:
                        raise Unsupported("FDT can only take whole local files", url=self.url + job.path)
                    folders.setdefault(str(Path(job.path).parent), []).append(job)
                except TransferError as error:
                    job.error = error
            for folder, some in folders.items():
                self._divided(list(some), lambda part, to=folder: self._push(part, to))  # type: ignore[misc]
                self._prove([job for job in some if job.error is None and job.required.remote])
            yield from batch

    def _push(self, jobs: list[Job[Source]], folder: str) -> list[Job[Source]]:
        """Links to the sources, called as they are to be there."""
        with workspace() as links:
            for job in jobs:
                (links / _name(job.path)).symlink_to(Path(job.end.file or "").absolute())
            words = ["-d", folder, *(str(links / _name(job.path)) for job in jobs)]
            self._run(words, jobs[0].end.passed, lambda: 0)
        return []

    def _prove(self, jobs: list[Job[Source]]) -> None:
        """Pulls them back, and compares their digests."""
        if not jobs:
            return
        with workspace() as back:
            copies = [_Into(back / str(n), job) for n, job in enumerate(jobs)]
            pulled = [
                _Pulled(Job(job.path, "", job.required, to)) for job, to in zip(jobs, copies, strict=True)
            ]
            self._divided(list(pulled), self._pull)
            for one, to, job in zip(pulled, copies, jobs, strict=True):
                try:
                    if one.error is not None:
                        raise one.error
                    _compare(Path(to.file), job, self.url)
                    job.stored, job.proven = ("read back",), True
                except TransferError as error:
                    job.error = error

    # -- what FDT has not ----------------------------------------------------------------------------

    def cannot(self, what: str, path: str) -> Unsupported:
        """Directories are made with the files in them."""
        return Unsupported(f"FDT cannot {what}", url=self.url + path)

    def close(self) -> None:
        """Ends the run that is under way."""
        self.programs.close()


class _Into:
    """Where a proof's copy goes."""

    def __init__(self, path: Path, job: Job[Source]) -> None:
        self.file = str(path)
        self.passed = job.end.passed


class _Pulled(Job[Any]):
    """A file of a pull; ``came``: it is where it is to be."""

    __slots__ = ("came", "job")

    def __init__(self, job: Job[Any]) -> None:
        super().__init__(job.path, job.destination, job.required, job.end)
        self.job = job
        self.came = False

    def take(self, into: str, common: str) -> None:
        """Looks for it as FDT may have put it, and moves it."""
        for name in (os.path.relpath(self.path, common), _name(self.path)):
            found = Path(into, name)
            if found.is_file() and not found.is_symlink():
                try:
                    shutil.move(found, self.end.file)
                    self.came = True
                except OSError as error:
                    self.error = from_oserror(error, url=self.end.file, side="destination")
                return


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _bytes(directory: str) -> int:
    return sum(size(Path(at, name)) for at, _, names in os.walk(directory) for name in names)


def _compare(copy: Path, job: Job[Source], url: str) -> None:
    """Raises ``Corrupted`` unless the copy has the digest of the source."""
    wanted = Requirement(job.required.algorithm, job.end.digest, job.end.size)
    check = StreamVerifier(url + job.path, wanted, Control())
    with copy.open("rb") as file:
        while block := file.read(1 << 20):
            job.end.passed(0)
            check.take(block)
    try:
        check.finish()
    except Corrupted as error:
        error.side = "destination"
        raise


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Raises ``Unsupported`` where jar or Java are missing."""
    return Fdt(endpoint, settings)


_: type[Backend] = Fdt
