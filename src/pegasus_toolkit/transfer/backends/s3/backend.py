"""S3 and what speaks like it: ``s3://user@site/bucket/key``, ``s3s://``, and plain ``s3://bucket/key``.

Signed requests of our own on the curl client, for downloads the loop that HTTP has
(docs/decisions/0002-s3-client.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from pegasus_toolkit.transfer.backends.http.get import Gets, Tuning
from pegasus_toolkit.transfer.backends.s3 import site as s3_site
from pegasus_toolkit.transfer.backends.s3.files import S3Files
from pegasus_toolkit.transfer.backends.shared.objects import ObjectsBackend
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.clients.curl.loop import Loop
from pegasus_toolkit.transfer.clients.s3 import Keys
from pegasus_toolkit.transfer.errors import (
    Corrupted,
)
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
WHOLE = Tuning(resumable=1 << 62, several=1 << 62)  # nothing is ever asked for in parts
IN_FLIGHT = 8  # files that one instance keeps under way, where the settings give it the connections


class S3(ObjectsBackend):
    """One service with one identity. An object is visible only when whole: S3 sees to that."""

    files: S3Files

    def __init__(
        self, site: s3_site.Site, settings: Settings, look_up: Callable[[], Keys] | None = None
    ) -> None:
        """``look_up``: finds the keys of this moment, once the first ones are over."""
        self.abilities = Abilities(in_flight=IN_FLIGHT, directories=False, times="asked")
        self.site = self.place = site
        self.at_once = site.options.batch_delete_size
        self.session = s3_site.session(site, settings, look_up)
        self.files = S3Files(self.session, site, settings.streams)
        self.loop = Loop(self.session, settings.connections)
        self.side = Loop(self.session, 1)  # for single requests, while a batch is under way
        self._buckets: set[str] = set()  # that are known to be there

    def runner(self, side: bool = False) -> Runner:
        """Clean-up after ``close`` goes over connections of its own."""
        return Runner(self.side if side else self.loop, lambda: Loop(self.session, 1))

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Keeps ``settings.connections`` objects in flight on kept connections."""
        tuning = TUNING if self.site.options.ranged_downloads else WHOLE
        return Gets(self.loop, tuning).run(jobs)

    # -- copies ----------------------------------------------------------------------------------------

    def copies(self, other: Backend, required: Requirement) -> bool:
        """On one endpoint with one identity. What must be verified is not copied: it would be seen before."""
        return (
            isinstance(other, S3)
            and other.site.endpoint == self.site.endpoint
            and other.site.keys.access == self.site.keys.access
            and not (required.digest or required.also or required.remote)
        )

    def copy(self, jobs: Iterator[Job[None]], other: Backend, control: Control) -> Iterator[Job[None]]:
        """Several at once; the service moves the bytes."""
        yield from self._batch(jobs, lambda job: self._copied(job, control))

    def _copied(self, job: Job[None], control: Control) -> Steps[None]:
        control.spend(0)
        bucket, _ = self.site.object(job.destination)
        head = yield from self.files.head(job.path)
        if job.required.size not in (None, head.size):
            raise Corrupted(f"{head.size} bytes, {job.required.size} expected", url=job.path, side="source")
        if bucket != self.site.object(job.path)[0] and bucket not in self._buckets:
            yield from self.files.make(job.destination)  # services differ in what they say of a missing one
            self._buckets.add(bucket)
        yield from self.files.copy(job.path, job.destination, head)
        control.bytes += head.size
        job.size = head.size
        job.digest = head.sha256 if job.required.algorithm == "sha256" else ""

    def identity(self) -> Identity:
        """Whose access key signs the requests."""
        site = self.site
        if site.keys.access is None:
            return Identity("anonymous")
        return Identity("session key" if site.keys.token else "access key", site.who)

    def close(self) -> None:
        """What is under way raises ``Cancelled``."""
        self.loop.close()
        self.side.close()


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of schemes names. Connects to nothing yet."""
    return S3(s3_site.find(endpoint, settings), settings, partial(s3_site.keys_of, endpoint, settings))


_backend: type[Backend] = S3
_copies: type[Copies] = S3
_inspects: type[Inspects] = S3
_identified: type[Identified] = S3
