"""A federation by the programs ``pelican`` and ``stashcp``, where a section says so: a process a file."""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.transfer.backends.osdf.site import Site
from pegasus_toolkit.transfer.backends.shared.refusing import Refusing
from pegasus_toolkit.transfer.clients import programs
from pegasus_toolkit.transfer.clients.programs import Programs
from pegasus_toolkit.transfer.errors import ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Abilities, Backend, Identity, Job, Sink, Source

WORDS = {"pelican": ("object", "copy"), "stashcp": ()}


class Command(Refusing):
    """What upstream does: copies, and nothing else."""

    abilities = Abilities(streams=False, quoted=True)

    def __init__(self, site: Site) -> None:
        self.site = site
        self.served_by = site.tool
        self.programs = Programs(site.settings.environ)
        self._program = self.programs.find(site.tool)
        if not self._program:
            hint = "install it, or take tool out of the section: no program is needed then"
            raise Unsupported(f"{site.tool} is not on PATH", host=site.endpoint.host, hint=hint)

    def _url(self, path: str) -> str:
        scheme, host, _ = self.site.endpoint
        return f"{scheme}://{host if scheme == 'pelican' else ''}{path}"

    def _copy(self, job: Job[Sink] | Job[Source], source: str, target: str, growing: str) -> None:
        words = [self._program, *WORDS[self.site.tool], source, target]
        ended = self.programs.run(words, job.end.passed, moved=lambda: programs.size(growing))
        if ended.status:
            text = f"{self.site.tool}: {ended.line()}"
            raise ServerFault(text, url=self._url(job.path), host=self.site.endpoint.host)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """A process for each file."""
        for job in jobs:
            try:
                if job.end.file is None:
                    raise Unsupported("only whole local files can be filled", url=self._url(job.path))
                self._copy(job, self._url(job.path), job.end.file, job.end.file)
            except TransferError as error:
                job.error = error
            yield job

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """A process for each file."""
        for job in jobs:
            try:
                if job.end.file is None:
                    raise Unsupported("only whole local files can be taken", url=self._url(job.path))
                if job.required.remote:
                    raise Unsupported(f"{self.site.tool} proves nothing", url=self._url(job.path))
                self._copy(job, job.end.file, self._url(job.path), "")
            except TransferError as error:
                job.error = error
            yield job

    def cannot(self, what: str, path: str) -> Unsupported:
        """The program only copies."""
        return Unsupported(
            f"{self.site.tool} cannot {what}", url=self._url(path), hint="take tool out of the section"
        )

    def mkdir(self, path: str) -> None:
        """Collections come with what is in them."""

    def identity(self) -> Identity:
        """The program finds its token by itself."""
        return self.site.identity()

    def close(self) -> None:
        """Ends what runs."""
        self.programs.close()


_: type[Backend] = Command
