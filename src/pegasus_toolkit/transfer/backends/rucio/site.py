"""Rucio's own client, with the login that a site's credentials say, and nothing that waits without end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import requests
from rucio.client.accountclient import AccountClient
from rucio.client.didclient import DIDClient
from rucio.client.replicaclient import ReplicaClient
from rucio.client.rseclient import RSEClient
from rucio.client.ruleclient import RuleClient
from rucio.common.exception import CannotAuthenticate, RucioException, ServiceUnavailable

from pegasus_toolkit.credentials import CredentialError
from pegasus_toolkit.credentials.rucio import RucioCredential
from pegasus_toolkit.transfer.backends.rucio.errors import failure
from pegasus_toolkit.transfer.backends.shared.blocking import Calls
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, NotFound
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

T = TypeVar("T")
LFNS = 30  # in one question that goes into a URL
SILENT = logging.Logger("rucio", logging.CRITICAL + 1)  # what it says is said by our errors


class Did(NamedTuple):
    """A data identifier."""

    scope: str
    name: str

    def __str__(self) -> str:
        return f"{self.scope}:{self.name}"

    @property
    def told(self) -> dict[str, str]:
        """As Rucio has it."""
        return self._asdict()


def did_of(path: str) -> Did:
    """What ``/scope:name`` names; of a dataset's member that is told with its scope
    (``/scope:dataset/other:name``), that. Raises ``BadSpecification``."""
    text = path.strip("/")
    scope, colon, name = text[text.rfind("/", 0, text.rfind(":")) + 1 :].partition(":")
    if not (scope and colon and name) or ":" in name:
        text = "no data identifier: a URL of Rucio is rucio://scope:name or rucio://RSE/scope:name"
        raise BadSpecification(text, url=f"rucio:/{path}")
    return Did(scope, name)


class _Client(AccountClient, DIDClient, ReplicaClient, RSEClient, RuleClient):  # type: ignore[misc]
    """Logs in when it is made, and once more where a token is refused."""

    AUTH_RETRIES = 1  # the engine repeats what may pass
    request_retries = property(lambda self: 0, lambda self, _: None)  # so the reason is raised, not swallowed
    script_id = property(lambda self: "pegasus-transfer", lambda self, _: None)  # not the command's arguments

    def __init__(
        self, found: RucioCredential, settings: Settings, again: Callable[[], RucioCredential]
    ) -> None:
        self.found, self.again = found, again
        creds: dict[str, Any] = {}
        if found.password is not None:
            creds = {"username": found.username, "password": found.password.reveal()}
        elif found.auth_type == "x509":
            creds = {"client_cert": found.certificate, "client_key": found.key}
        elif found.auth_type == "x509_proxy":
            creds = {"client_proxy": found.certificate}
        program = sys.argv[0]
        try:
            super().__init__(
                rucio_host=found.rucio_host,
                auth_host=found.auth_host,
                account=found.account or None,
                ca_cert=found.ca or settings.credentials.ca_directory() or True,
                auth_type=found.auth_type,
                creds=creds,
                timeout=(settings.connect_timeout, settings.stall_timeout),
                vo=found.vo,
                logger=SILENT,
            )
        finally:
            sys.argv[0] = program  # which the library shortens

    def _get_auth_tokens(self) -> tuple[str, str, str, str]:
        file = self.found.token_file
        return file, f"{file}_exp", file, str(Path(file).parent) if file else ""

    def _send_request(self, *words: Any, **more: Any) -> Any:
        """A server in trouble has not refused a login."""
        found = super()._send_request(*words, **more)
        if more.get("get_token") and found.status_code >= 500:
            raise ServiceUnavailable(f"the login was answered with {found.status_code}")
        return found

    def _back_off(self, retry_number: int, reason: str) -> None:
        """The engine waits, where others can go on."""

    def _BaseClient__read_token(self) -> bool:
        token = _kept(self.found)
        if token:
            self._use(token)
        return bool(token)

    def _BaseClient__get_token_oidc(self) -> bool:
        """Another one that has come meanwhile; nobody can be asked for a login."""
        self.found = self.again()
        token = _kept(self.found)
        if not token or token == self.auth_token:
            raise CannotAuthenticate("the token is refused: it may be over; log in again (rucio whoami)")
        self._use(token)
        return True

    def _BaseClient__write_token(self) -> None:
        if self.found.token_file and self.found.token is None:
            super()._BaseClient__write_token()

    def _use(self, token: str) -> None:
        self.auth_token = self.headers["X-Rucio-Auth-Token"] = token


def _kept(found: RucioCredential) -> str:
    """The token of the credential, or in its file."""
    if found.token is not None:
        return found.token.secret.reveal()
    file = Path(found.token_file) if found.token_file else None
    return file.read_text().strip() if file is not None and file.exists() else ""


class Catalog:
    """What is asked of a Rucio server, a few questions for many files; for one thread at a time."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self.found = self._find()
        self.host = self.found.rucio_host.partition("://")[2]
        self.calls = Calls(1)
        self._client: _Client | None = None

    def again(self) -> Catalog:
        """Another login, for clean-up."""
        return Catalog(self.endpoint, self.settings)

    def _find(self) -> RucioCredential:
        try:
            return self.settings.credentials.rucio(self.endpoint.site)
        except CredentialError as error:
            raise Denied(error.message, host="Rucio", hint=error.hint) from None

    def ask(self, work: Callable[[Any], T], path: str = "") -> T:
        """One or more requests. Raises ``TransferError``."""

        def call() -> T:
            try:
                if self._client is None:
                    self._client = _Client(self.found, self.settings, self._find)
                return work(self._client)
            except (RucioException, requests.RequestException) as error:
                raise failure(error, url=self.url(path) if path else "", host=self.host) from None

        def story() -> Steps[T]:
            found: T = yield call
            return found

        return Runner(self.calls, lambda: Calls(1, once=True)).one(story())

    def url(self, path: str) -> str:
        """There is no secret in it."""
        rse = "" if self.endpoint.authority == "rucio" else f"/{self.endpoint.authority}"
        return f"rucio:/{rse}{path}"

    def known(self, dids: Iterable[Did]) -> dict[Did, dict[str, Any]]:
        """What the catalog says of each; those that it does not know, or that are erased, are left out."""
        asked = [did.told for did in dids]
        found = self.ask(lambda client: list(client.get_metadata_bulk(asked))) if asked else []
        return {Did(one["scope"], one["name"]): one for one in found}

    def replicas(self, dids: Iterable[Did], schemes: Sequence[str]) -> dict[Did, list[tuple[str, str]]]:
        """PFN and RSE of each available replica, in Rucio's order."""
        asked = [did.told for did in dids]
        options: dict[str, Any] = {
            "schemes": list(schemes),
            "ignore_availability": False,
            "resolve_archives": False,
        }
        if self.endpoint.authority != "rucio":
            options["rse_expression"] = self.endpoint.authority
        if site := self.settings.environ.get("SITE_NAME"):
            options["client_location"] = {"site": site}
        found = self.ask(lambda client: list(client.list_replicas(asked, **options))) if asked else []
        return {
            Did(one["scope"], one["name"]): [
                (pfn, told["rse"])
                for pfn, told in sorted(one["pfns"].items(), key=lambda pair: pair[1]["priority"])
            ]
            for one in found
        }

    def pfns(self, rse: str, dids: Iterable[Did], scheme: str) -> dict[Did, str]:
        """Where a storage element is to have them."""
        asked = list(dict.fromkeys(dids))

        def translate(client: _Client) -> dict[str, str]:
            found: dict[str, str] = {}
            for at in range(0, len(asked), LFNS):
                some = [str(did) for did in asked[at : at + LFNS]]
                found |= client.lfns2pfns(rse, some, "wan", "write", scheme)
            return found

        found = self.ask(translate)
        return {did: found[str(did)] for did in asked if str(did) in found}

    def room(self, rse: str) -> int | None:
        """Bytes that the account may still have there; ``None``: not told."""

        def look(client: _Client) -> int | None:
            account = client.account or client.whoami()["account"]
            client.account = account
            limits = [one for one in client.get_local_account_usage(account, rse) if one["rse"] == rse]
            return limits[0]["bytes_remaining"] if limits and limits[0].get("bytes_limit") else None

        try:
            return self.ask(look)
        except (Denied, NotFound):  # some servers tell it to few
            return None

    def erase(self, did: Did) -> None:
        """Its time is over: Rucio removes its replicas, but for those that a rule still holds."""
        self.ask(lambda client: client.set_metadata(*did, "lifetime", 0), f"/{did}")

    def identity(self) -> Identity:
        """Whose login it is."""
        expires = self.found.token.expires if self.found.token is not None else None
        account = f" {self.found.account}" if self.found.account else ""
        return Identity(f"Rucio account{account} ({self.found.auth_type})", self.found.origin, expires)
