"""Who we are at Globus, and how it is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import globus_sdk
from globus_sdk.scopes import TransferScopes
from globus_sdk.transport import RequestsTransport, RetryConfig
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from pegasus_toolkit.credentials import CredentialError, GlobusCredential
from pegasus_toolkit.credentials.globus import INIT
from pegasus_toolkit.transfer.backends.globus.errors import failure
from pegasus_toolkit.transfer.errors import BadSpecification, Cancelled, Denied, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

ATTEMPTS = 4  # at a request that failed for a reason that may pass
T = TypeVar("T")


class Place(NamedTuple):
    """A path in a collection, as Globus has it."""

    collection: str
    path: str


class Service:
    """Globus with one login; may be used by many threads, each with a client of its own."""

    def __init__(self, found: GlobusCredential, settings: Settings) -> None:
        self.found = found
        self.closed = threading.Event()
        self._patience = settings.stall_timeout
        self._mine = threading.local()

    @property
    def client(self) -> globus_sdk.TransferClient:
        """This thread's."""
        client: globus_sdk.TransferClient | None = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = globus_sdk.TransferClient(
                authorizer=self._authorizer(),
                transport=RequestsTransport(http_timeout=self._patience),
                retry_config=RetryConfig(  # once, for a token that ended; the rest is ours
                    max_retries=1, max_sleep=1, transient_error_status_codes=(), retry_after_status_codes=()
                ),
            )
        return client

    def _authorizer(self) -> globus_sdk.authorizers.GlobusAuthorizer:
        found = self.found
        if found.client_secret is not None:
            application = globus_sdk.ConfidentialAppAuthClient(found.client_id, found.client_secret.reveal())
            return globus_sdk.ClientCredentialsAuthorizer(application, TransferScopes.all)
        if found.refresh is not None:
            access = found.access.reveal() if found.access is not None and found.expires else None
            return globus_sdk.RefreshTokenAuthorizer(
                found.refresh.reveal(),
                globus_sdk.NativeAppAuthClient(found.client_id),
                access_token=access,
                expires_at=found.expires if access else None,
            )
        assert found.access is not None
        if found.expires is not None and found.expires < time.time():
            raise Denied(f"the token in {found.origin} is over", hint=f"run {INIT}")
        return globus_sdk.AccessTokenAuthorizer(found.access.reveal())

    def ask(self, url: str, collection: str, work: Callable[[globus_sdk.TransferClient], T]) -> T:
        """One request, again where it failed for a reason that may pass. Raises ``TransferError``."""

        def once() -> T:
            try:
                return work(self.client)
            except globus_sdk.GlobusError as error:
                raise failure(error, url=url, collection=collection) from None

        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, TransferError) and error.retryable),
            wait=wait_random_exponential(0.5, max=10),
            stop=stop_after_attempt(ATTEMPTS),
            sleep=self.sleep,
            reraise=True,
        )(once)

    def sleep(self, seconds: float) -> None:
        """Raises ``Cancelled`` once closed."""
        if self.closed.wait(seconds):
            raise Cancelled("the connection was closed")

    def identity(self) -> Identity:
        """Told without telling it."""
        kind = "client credentials" if self.found.client_secret is not None else "Globus login"
        lasting = self.found.client_secret is not None or self.found.refresh is not None
        return Identity(kind, self.found.origin, None if lasting else self.found.expires)


def find(endpoint: Endpoint, settings: Settings) -> Service:
    """The login for an endpoint. Raises ``BadSpecification``, or ``Denied`` where there is none."""
    collection = endpoint.authority
    if not collection or "@" in collection or ":" in collection:
        raise BadSpecification("a URL of Globus is go://collection/path", host=collection)
    try:
        found = settings.credentials.globus(endpoint.site)
    except CredentialError as error:
        raise Denied(error.message, host=collection, hint=error.hint) from None
    if found is None:
        raise Denied("no login at Globus", host=collection, hint=f"run {INIT}, or name a file in GLOBUS_CONF")
    return Service(found, settings)


def same_login(one: Service, other: Service) -> bool:
    """Whether one task may use both."""
    mine, theirs = one.found, other.found
    return _who(mine) == _who(theirs)


def _who(found: GlobusCredential) -> tuple[Any, ...]:
    secrets = (found.client_secret, found.refresh, found.access)
    return found.client_id, *(secret.reveal() if secret is not None else "" for secret in secrets)
