"""Sections for S3: ``[site]`` says where, ``[user@site]`` holds the keys."""

from __future__ import annotations

from types import MappingProxyType

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.files import Sections
from pegasus_toolkit.credentials.section import Section
from pegasus_toolkit.credentials.types import NamedFile, S3Credential

SECRETS = ("access_key", "secret_key", "session_token", "password", "token")
OWN = ("endpoint", "region", "ca_file", "verify")


def build(sections: Sections, user: str, site: str, file: NamedFile, home: str) -> S3Credential:
    """The credential of ``user`` at ``site``. Raises naming what is missing."""
    identity = f"{user}@{site}"
    for name in (site, identity):
        if name not in sections:
            raise CredentialError(f"credentials file {file.path}: no section [{name}]")
    place = Section(sections[site], site, file.path, home)
    keys = Section(sections[identity], identity, file.path, home)
    access_key, secret_key = keys.required("access_key"), keys.required("secret_key")
    session_token = keys.secret("session_token")
    for key, secret in (
        ("access_key", access_key),
        ("secret_key", secret_key),
        ("session_token", session_token),
    ):
        if secret is not None:
            keys.one_line(key, secret)
    return S3Credential(
        endpoint=_endpoint(place),
        region=place.text("region"),
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        ca_file=place.file("ca_file"),
        insecure=place.insecure(),
        options=_options(place),
        section=identity,
        path=str(file.path),
    )


def _options(place: Section) -> MappingProxyType[str, str]:
    """All that is not ours and surely no secret."""
    hidden = (*SECRETS, *OWN)
    return MappingProxyType(
        {key: place.text(key) for key in place.values if key not in hidden and not key.startswith("header.")}
    )


def _endpoint(place: Section) -> str:
    place.required("endpoint")
    text = place.text("endpoint")
    scheme, separator, rest = text.partition("://")
    authority = rest.partition("/")[0]
    if not separator or scheme.lower() not in ("http", "https") or not authority or " " in text:
        raise place.error("endpoint is not a URL of the form https://host[:port]")
    if "@" in authority:
        raise place.error("endpoint must not hold a user or password")
    return text.rstrip("/")
