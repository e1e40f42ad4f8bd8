"""Open backends, kept for the next batch: connections are made once and used again."""

from __future__ import annotations

import threading

from msgspec.structs import replace

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.errors import Denied, TransferError
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Opener, Settings


class Pool:
    """Backends by endpoint and connections. ``lend`` and ``give_back`` from any thread."""

    def __init__(self, settings: Settings, opener: Opener) -> None:
        self.settings = settings
        self.opener = opener
        self.idle: dict[tuple[Endpoint, int], list[Backend]] = {}
        self.samples: dict[Endpoint, Backend | TransferError] = {}
        self.lock = threading.Lock()

    def sample(self, endpoint: Endpoint) -> Backend:
        """A backend to ask for its abilities only; raises what opening it raised.

        A failure is remembered: what is wrong with a credential or an extra stays so for the run.
        """
        found = self.samples.get(endpoint)
        if found is None:
            try:
                found = self.lend(endpoint, 1)
            except TransferError as error:
                found = error
            self.samples[endpoint] = found
            if not isinstance(found, TransferError):
                self.give_back(endpoint, 1, found)
        if isinstance(found, TransferError):
            raise found
        return found

    def lend(self, endpoint: Endpoint, connections: int) -> Backend:
        """An idle backend of that endpoint, or a new one, that keeps so many files in flight."""
        with self.lock:
            idle = self.idle.get((endpoint, connections))
            if idle:
                return idle.pop()
        try:
            return self.opener(endpoint, replace(self.settings, connections=connections))
        except CredentialError as error:
            raise Denied(str(error), host=endpoint.host) from error

    def give_back(self, endpoint: Endpoint, connections: int, backend: Backend) -> None:
        """For the next batch. A backend that failed or was closed is not given back."""
        with self.lock:
            self.idle.setdefault((endpoint, connections), []).append(backend)

    def close(self) -> None:
        """Closes all that is idle."""
        with self.lock:
            idle, self.idle = self.idle, {}
        for backends in idle.values():
            for backend in backends:
                backend.close()
