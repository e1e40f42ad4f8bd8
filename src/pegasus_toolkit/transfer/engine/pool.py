"""Open backends, kept for the next batch: connections are made once and used again."""

from __future__ import annotations

import threading

from msgspec.structs import replace

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.transfer.errors import Denied, Permanent, TransferError, translate
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

        What does not pass is remembered: a credential or an extra that is missing stays so for the run.
        """
        found = self.samples.get(endpoint)
        if found is None:
            try:
                found = self.lend(endpoint, 1)
            except Permanent as error:
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
        except Exception as error:
            raise translate(error, host=endpoint.host) from error

    def give_back(self, endpoint: Endpoint, connections: int, backend: Backend) -> None:
        """For the next batch. A backend that failed or was closed is not given back."""
        with self.lock:
            self.idle.setdefault((endpoint, connections), []).append(backend)

    def close(self, host: str | None = None) -> None:
        """Closes all that is idle, or what is connected to one host and so uses up what that allows."""
        with self.lock:
            keys = [key for key in self.idle if host in (None, key[0].host)]
            idle = [self.idle.pop(key) for key in keys]
        for backends in idle:
            for backend in backends:
                backend.close()
