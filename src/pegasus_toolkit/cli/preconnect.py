"""Connections that are begun while a long specification is still being checked: a login takes as long."""

from __future__ import annotations

from contextlib import suppress

from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Preconnects, Settings
from pegasus_toolkit.transfer.model import Operation, Transfer


class Preconnect:
    """Opens the pool that the run will use. Nothing is moved, and no error is told, before the run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.pool: Pool | None = None

    def begin(self, first: Operation) -> None:
        """Begins to connect to where the first operation leads."""
        from pegasus_toolkit.transfer.backends import open_backend

        if not isinstance(first, Transfer):
            return
        with suppress(TransferError):  # found again, and told, when the run comes to it
            self.pool = Pool(self._settings, open_backend)
            for place in (first.sources[0], first.destinations[0]):
                backend = self.pool.sample(place.endpoint)
                if isinstance(backend, Preconnects):
                    backend.begin()

    def take(self, pool: Pool, keep: bool) -> None:
        """What was opened to look at places is for the run, too; or, where that knows more, closed."""
        if keep:
            self.pool = pool
        else:
            pool.close()

    def __enter__(self) -> Preconnect:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends what was begun and not used."""
        if self.pool is not None:
            self.pool.close()
