"""What libcurl sends of one job."""

from __future__ import annotations

from pegasus_toolkit.transfer.backends.shared.files import Sending
from pegasus_toolkit.transfer.clients.curl.upload import Stream, body
from pegasus_toolkit.transfer.interface import Job, Source


class Body(Sending):
    """A small file is in memory, and verified, before anything is sent; a larger one is read meanwhile.

    Raises what the source raises. Whoever has sent it notes in ``sent`` how much that was.
    """

    def __init__(self, job: Job[Source]) -> None:
        super().__init__(job)
        self.upload = body(job.end)

    @property
    def repeatable(self) -> bool:
        """Whether it is in memory."""
        return not isinstance(self.upload, Stream)

    def rewind(self) -> bool:
        """Back to the start; whether that was possible."""
        return self.upload.rewind()

    def close(self) -> None:
        """The source is not read any more."""
        self.upload.close()
