"""Google Storage: ``gs://bucket/key``.

google-auth makes the tokens, our own client moves the bytes (docs/decisions/0013-google-storage.md); for
downloads the loop that HTTP has.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_toolkit.transfer.backends.gs import site as gs_site
from pegasus_toolkit.transfer.backends.gs.files import BATCH, GsFiles
from pegasus_toolkit.transfer.backends.http.get import Fetch, Gets, Tuning
from pegasus_toolkit.transfer.backends.shared.objects import ObjectsBackend
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.clients.curl.headers import Head
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.errors import Corrupted, NotFound
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Control,
    Copies,
    Endpoint,
    Identified,
    Identity,
    Inspects,
    Job,
    Requirement,
    Settings,
    Sink,
)

TUNING = Tuning()
IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections


class GsFetch(Fetch):
    """One object. Google's CRC32C is compared, which costs nothing; its MD5 where there is no other."""

    def _expect(self, head: Head) -> None:
        told, required = head.digests(), self.job.required
        if required.digest or required.also:
            return
        for algorithm in ("crc32c", "md5"):
            if algorithm in told:
                self.job.end.expect(algorithm, told[algorithm])
                break


class GsGets(Gets):
    """A batch of them."""

    fetch = GsFetch


class Gs(ObjectsBackend):
    """One bucket with one identity. An object is visible only when whole: Google sees to that."""

    files: GsFiles
    at_once = BATCH

    def __init__(self, site: gs_site.Site, settings: Settings) -> None:
        self.abilities = Abilities(in_flight=IN_FLIGHT, directories=False, times="listed")
        self.site = self.place = site
        self.session = gs_site.session(site, settings)
        self.files = GsFiles(self.session, site)
        self.loop = Loop(self.session, settings.connections)
        self.side = Loop(self.session, 1)  # for single requests, while a batch is under way

    def runner(self, side: bool = False) -> Runner:
        """Clean-up after ``close`` goes over connections of its own."""
        return Runner(self.side if side else self.loop, lambda: Loop(self.session, 1))

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` objects in flight on kept connections."""
        return GsGets(self.loop, TUNING).run(jobs)

    # -- copies ----------------------------------------------------------------------------------------

    def copies(self, other: Backend, required: Requirement) -> bool:
        """In one service with one identity. What must be verified is not copied: it would be seen before."""
        return (
            isinstance(other, Gs)
            and other.site.endpoint == self.site.endpoint
            and other.site.identity == self.site.identity
            and not (required.digest or required.also or required.remote)
        )

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Several at once; Google moves the bytes."""
        assert isinstance(other, Gs)
        yield from self._batch(jobs, lambda job: self._copied(job, other.site, control))

    def _copied(self, job: Job[None], there: gs_site.Site, control: Control) -> Steps[None]:
        control.spend(0)
        bucket, key = there.object(job.destination)
        head = yield from self.files.head(job.path)
        if job.required.size not in (None, head.size):
            text = f"{head.size} bytes, {job.required.size} expected"
            raise Corrupted(text, url=self.files.url(job.path), side="source")
        copied = yield from self.files.copy(job.path, bucket, key, head)
        control.bytes += copied.size
        job.size = copied.size
        job.stored += ("size", "digest") if copied.crc32c and head.crc32c else ("size",)

    def identity(self) -> Identity:
        """Whose token is shown."""
        return self.site.identity

    def lacks(self, reads: bool, writes: bool) -> str:
        """Asked of Google; an endpoint that does not tell is believed to allow all."""
        wanted = ["storage.objects.get"] if reads else []
        wanted += ["storage.objects.create", "storage.objects.delete"] if writes else []
        if not wanted or self.site.bearer is None:
            return ""
        try:
            granted = self.runner(side=True).one(self.files.granted(wanted))
        except NotFound:
            return ""
        return ", ".join(one for one in wanted if one not in granted)

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self.loop.close()
        self.side.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of schemes names. Connects to nothing yet."""
    return Gs(gs_site.find(endpoint, settings), settings)


_backend: type[Backend] = Gs
_copies: type[Copies] = Gs
_inspects: type[Inspects] = Gs
_identified: type[Identified] = Gs
