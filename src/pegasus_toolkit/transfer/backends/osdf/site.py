"""What a federation's servers are shown, and whom we trust there."""

from __future__ import annotations

from pegasus_toolkit.credentials import CredentialError, HttpCredential, Token
from pegasus_toolkit.transfer.backends.shared.tokens import LiveToken
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl.session import Access
from pegasus_toolkit.transfer.errors import BadSpecification, Denied
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

TOOLS = ("pelican", "stashcp")


class Site:
    """One federation as one site's user. Raises ``Denied`` where the credentials cannot be used.

    ``tool``: a program that is to move the files instead, "" for none.
    """

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        self.endpoint = endpoint
        self.settings = settings
        told = settings.credentials.options(endpoint.scheme, endpoint.host, endpoint.site)
        self.tool = told["tool"].reveal() if "tool" in told else ""
        if self.tool and self.tool not in TOOLS:
            raise BadSpecification(f"tool is none of {', '.join(TOOLS)}", host=endpoint.host)
        credential = HttpCredential()
        self.token: Token | None = None
        if not self.tool:
            try:
                credential = settings.credentials.http(endpoint.scheme, endpoint.host, endpoint.site)
                self.token = self._find()
            except CredentialError as error:
                raise Denied(error.message, host=endpoint.host, hint=error.hint) from None
        file, directory = authorities(settings.environ)
        if credential.ca_file:
            file, directory = credential.ca_file, ""
        self.open = Access(
            ca_file=file,
            ca_directory=directory or settings.credentials.ca_directory(),
            insecure=credential.insecure,
            section=credential.section,
        )
        self.temporary_names = credential.temporary_names
        self._live: LiveToken | None = None
        if self.token is not None:
            self._live = LiveToken(self.token, self._find, endpoint.host)

    def _find(self) -> Token | None:
        endpoint = self.endpoint
        return self.settings.credentials.token(endpoint.scheme, endpoint.host, endpoint.site, False)

    def access(self, token: bool) -> Access:
        """What a server is shown: with the token, where there is one, or without."""
        return self.open._replace(bearer=self._live) if token else self.open

    def identity(self) -> Identity:
        """Told without telling it."""
        if self.token is None:
            return Identity("anonymous", self.tool)
        return Identity("bearer token", self.token.origin, self.token.expires)
