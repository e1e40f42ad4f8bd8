"""What a credential says of itself: one type for each kind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pegasus_toolkit.credentials.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path


class HttpCredential(NamedTuple):
    """What to show one HTTP server, and how to know it. Empty where the credentials file is silent.

    ``headers``: name (case kept) and value, for requests to this host alone, never along a redirect;
    ``token``: for ``Authorization: Bearer``; at most one of ``password``, ``token`` and an
    ``Authorization`` header is there. ``ca_file``, ``client_certificate``, ``client_key``: absolute
    paths, "" for none. ``insecure``: the certificate need not be checked. ``section``: where it stands.
    ``webdav``: the server can be written to; ``plain_password``: it may get the password unencrypted;
    ``temporary_names``: how uploads are called until they are whole: "hidden", "plain", "none", "" where the
    file does not say.
    """

    headers: tuple[tuple[str, Secret], ...] = ()
    username: str = ""
    password: Secret | None = None
    token: Secret | None = None
    ca_file: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure: bool = False
    section: str = ""
    webdav: bool = False
    plain_password: bool = False
    temporary_names: str = ""


class S3Credential(NamedTuple):
    """What opens one S3 service.

    ``endpoint``: ``http://`` or ``https://`` URL; ``region``: "" where not told; ``options``: the
    other keys of the site's section, no secrets among them; ``section``: ``user@site``; ``path``: the file.
    """

    endpoint: str
    region: str
    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None
    ca_file: str = ""
    insecure: bool = False
    options: Mapping[str, str] = {}
    section: str = ""
    path: str = ""


class SshCredential(NamedTuple):
    """Who logs in at one SSH server with what, and which host keys are believed there.

    ``user``: "" and ``port``: 0 where nothing is told; ``private_key``, ``known_hosts``: absolute
    paths, "" for the usual ones; ``host_key``: the only one that is right ("type base64"), "" for
    those in known_hosts; ``accept_new``: the key of an unknown host is believed and kept.
    """

    user: str = ""
    port: int = 0
    private_key: str = ""
    passphrase: Secret | None = None
    password: Secret | None = None
    known_hosts: str = ""
    host_key: str = ""
    accept_new: bool = False
    section: str = ""


class X509Credential(NamedTuple):
    """A proxy, or a certificate with its key, that is valid now.

    ``certificate``, ``key``: absolute paths, the same for a proxy. ``starts``, ``expires``: seconds since
    the epoch between which all certificates of the chain are valid. ``origin``: what named it, "" for
    the usual place.
    """

    certificate: str
    key: str
    starts: float
    expires: float
    origin: str = ""

    @property
    def proxy(self) -> bool:
        """Whether it is one file that holds certificate, key and chain."""
        return self.certificate == self.key

    @property
    def path(self) -> str:
        """The proxy's file; of a certificate with a key of its own, the certificate's."""
        return self.certificate

    def left(self) -> float:
        """Seconds until it expires."""
        return self.expires - time.time()


class GoogleCredential(NamedTuple):
    """What opens Google Storage; with neither ``key`` nor ``pkcs12``: nothing, or a bearer token.

    ``key``: JSON as Google's tools write it; ``pkcs12``: content of such a file, for the account ``email``,
    with its ``password``, and where its tokens are got; ``origin``: where it stands, "" for nowhere;
    ``endpoint``: URL, "" for Google's own; ``project``: new buckets belong to it; ``user_project``: pays
    where readers do; ``ca_file``: absolute path; ``insecure``: the certificate need not be checked;
    ``section``: of the credentials file, "" for none.
    """

    key: Secret | None = None
    pkcs12: bytes = b""
    email: str = ""
    password: Secret | None = None
    token_uri: str = ""
    origin: str = ""
    endpoint: str = ""
    project: str = ""
    user_project: str = ""
    ca_file: str = ""
    insecure: bool = False
    section: str = ""

    def __repr__(self) -> str:
        return f"<GoogleCredential {self.origin}>"


class GlobusCredential(NamedTuple):
    """Who logs in at Globus, and which of its collections is a directory of ours.

    ``client_id``: of the application, with its ``client_secret`` where it acts for itself; else a user's
    ``access`` token, good until ``expires`` (seconds since the epoch, ``None``: not told), and the
    ``refresh`` token that gets others. ``origin``: the file. ``collection``: "" for none; ``directory``:
    absolute path here of what is ``path`` there.
    """

    client_id: str
    client_secret: Secret | None = None
    access: Secret | None = None
    expires: int | None = None
    refresh: Secret | None = None
    origin: str = ""
    collection: str = ""
    directory: str = ""
    path: str = ""

    def __repr__(self) -> str:
        return f"<GlobusCredential {self.origin}>"


class Token(NamedTuple):
    """A bearer token, not over yet.

    ``origin``: where it stands; ``expires``: ``None`` where not known; ``configured``: the credentials
    file gives it to that very host (else it was found, and is for any that knows what to do with it);
    ``path``: the file that it was read from, "" for a variable; ``scopes``, ``audience``: as it says itself.
    """

    secret: Secret
    origin: str
    expires: float | None = None
    configured: bool = False
    path: str = ""
    scopes: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()

    def left(self) -> float | None:
        """Seconds until it expires, where that is known."""
        return None if self.expires is None else self.expires - time.time()


class NamedFile(NamedTuple):
    """A file, and what named it, for errors."""

    path: Path
    origin: str
