"""Where an S3 service is, who we are there, and how it wants to be talked to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pegasus_toolkit.credentials import CredentialError, Secret
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.backends.s3.errors import failure
from pegasus_toolkit.transfer.backends.shared.trust import authorities
from pegasus_toolkit.transfer.clients.curl.proxies import Proxies
from pegasus_toolkit.transfer.clients.curl.session import Access
from pegasus_toolkit.transfer.clients.s3 import Keys, S3Session, Signer
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, TransferError
from pegasus_toolkit.transfer.interface import Endpoint, Settings

MIB = 1 << 20


class Options(NamedTuple):
    """What a site's section may say, all optional.

    ``part_size``: of uploads, in bytes (5 MiB at least); 0: chosen by the size of the object.
    ``multipart_uploads`` and
    ``ranged_downloads``: whether large objects go in parts. ``checksums``: send a SHA-256 with
    every upload for the server to check.
    """

    multipart_uploads: bool = True
    ranged_downloads: bool = True
    batch_delete: bool = True
    batch_delete_size: int = 1000
    checksums: bool = True
    part_size: int = 0


class Site(NamedTuple):
    """One S3 service and one identity at it.

    ``endpoint``: base URL; ``bucket``: set where the URL's authority names it (``s3://bucket/key``);
    ``keys``: who we are; ``who`` names the credential in errors.
    """

    endpoint: str
    region: str
    keys: Keys
    ca_file: str
    insecure: bool
    options: Options
    bucket: str
    host: str
    who: str

    def split(self, path: str) -> tuple[str, str]:
        """Bucket and key of a path as it stands in the URL. Raises ``BadSpecification``."""
        rest = path[1:] if path.startswith("/") else path
        if self.bucket:
            return self.bucket, rest
        bucket, _, key = rest.partition("/")
        if not bucket:
            raise BadSpecification("no bucket in this URL", url=path, host=self.host)
        return bucket, key

    def object(self, path: str) -> tuple[str, str]:
        """Bucket and key. Raises ``BadSpecification`` where there is no key."""
        bucket, key = self.split(path)
        if not key:
            raise BadSpecification("a bucket, where an object is needed", url=path, host=self.host)
        return bucket, key

    def path(self, bucket: str, key: str) -> str:
        """The path that ``split`` takes apart."""
        return f"/{key}" if self.bucket else f"/{bucket}/{key}"


def find(endpoint: Endpoint, settings: Settings) -> Site:
    """The service that an endpoint names. Raises ``BadSpecification`` or ``CredentialError``."""
    user, at, name = endpoint.authority.rpartition("@")
    site = _from_file(user, name, endpoint, settings) if at else _from_environment(name, endpoint, settings)
    if endpoint.scheme == "s3s" and not site.endpoint.startswith("https:"):
        raise BadSpecification(
            f"s3s: needs an https:// endpoint, not {site.endpoint}",
            host=endpoint.host,
            hint=f"mend the endpoint of {site.who}, or use s3:",
        )
    return site


def keys_of(endpoint: Endpoint, settings: Settings) -> Keys:
    """Those of this moment. Raises ``TransferError``."""
    try:
        return find(endpoint, settings).keys
    except CredentialError as error:
        raise Denied(error.message, host=endpoint.host, hint=error.hint) from None


def session(site: Site, settings: Settings, look_up: Callable[[], Keys] | None = None) -> S3Session:
    """What talks to the service. Only https endpoints go through a proxy, as in upstream.

    ``look_up``: finds the keys that are there when the first ones were replaced.
    """
    file, directory = authorities(settings.environ)
    if site.ca_file:
        if not os.access(site.ca_file, os.R_OK):
            raise BadSpecification(f"ca_file {site.ca_file} cannot be read", host=site.host)
        file, directory = site.ca_file, ""

    def refused(status: int, code: str, url: str, after: float | None) -> TransferError:
        return failure(status, code, url=url, host=site.host, who=site.who, retry_after=after)

    found = S3Session(
        site.endpoint,
        Signer(site.region, site.keys, look_up),
        Access(ca_file=file, ca_directory=directory, insecure=site.insecure, section=site.who),
        settings,
        split=site.object,
        refused=refused,
    )
    if found.origin.scheme != "https":
        found.proxies = Proxies({})
    return found


def _from_file(user: str, name: str, endpoint: Endpoint, settings: Settings) -> Site:
    found = settings.credentials.s3(user, name)
    return Site(
        endpoint=found.endpoint,
        region=found.region or _region_of(found.endpoint),
        keys=Keys(found.access_key, found.secret_key, found.session_token, found.path),
        ca_file=found.ca_file,
        insecure=found.insecure,
        options=_options(found.options, name),
        bucket="",
        host=endpoint.host,
        who=f"section [{found.section}] of the credentials file",
    )


def _from_environment(bucket: str, endpoint: Endpoint, settings: Settings) -> Site:
    """``s3://bucket/key`` with the environment of the AWS tools; no key at all: anonymous."""
    if not bucket:
        raise BadSpecification("an S3 URL is s3://user@site/bucket/key or s3://bucket/key")
    env = settings.environ
    keys = {
        "aws_access_key_id": env.get("AWS_ACCESS_KEY_ID", ""),
        "aws_secret_access_key": env.get("AWS_SECRET_ACCESS_KEY", ""),
        "aws_session_token": env.get("AWS_SESSION_TOKEN", ""),
    }
    who, region, path = "AWS_ACCESS_KEY_ID", "", ""
    if not keys["aws_access_key_id"] or env.get("AWS_PROFILE"):
        from pegasus_toolkit.transfer.backends.s3.profile import place, read

        profile = read(env)
        region = profile.pop("region", "")
        if profile:
            keys, who, path = profile, "the AWS credentials file", place(env)
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or region or "us-east-1"
    url = (
        env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or f"https://s3.{region}.amazonaws.com"
    )
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise BadSpecification("AWS_ENDPOINT_URL is not a URL of the form https://host[:port]")
    identity = keys.get("aws_access_key_id", "")
    return Site(
        endpoint=url.rstrip("/"),
        region=region,
        keys=_keys(keys, path) if identity else Keys(),
        ca_file=env.get("AWS_CA_BUNDLE", ""),
        insecure=False,
        options=Options(),
        bucket=bucket,
        host=endpoint.host,
        who=who if identity else "AWS_ACCESS_KEY_ID, which is not set",
    )


def _keys(told: Mapping[str, str], path: str) -> Keys:
    token = told.get("aws_session_token")
    secret = Secret(told.get("aws_secret_access_key", ""))
    return Keys(Secret(told["aws_access_key_id"]), secret, Secret(token) if token else None, path)


def _region_of(url: str) -> str:
    """Amazon's endpoints tell their region; elsewhere a name is needed, whichever."""
    labels = (urlsplit(url).hostname or "").split(".")
    if labels[-2:] == ["amazonaws", "com"] and len(labels) > 3:
        return labels[-3]
    return "us-east-1"


_TRUE, _FALSE = frozenset(["true", "yes", "on", "1"]), frozenset(["false", "no", "off", "0"])


def _options(told: Mapping[str, str], section: str) -> Options:
    """Keys that are not ours are left alone: the file serves upstream's tools, too."""
    found: dict[str, Any] = {}
    for key, default in Options()._asdict().items():
        if key not in told:
            continue
        text = told[key].strip()
        if isinstance(default, bool):
            if text.lower() not in _TRUE | _FALSE:
                raise BadSpecification(f"credentials file, [{section}]: {key} is neither true nor false")
            found[key] = text.lower() in _TRUE
        else:
            try:
                found[key] = units.parse(text)
            except ValueError as error:
                raise BadSpecification(f"credentials file, [{section}]: {key}: {error}") from None
    if not 1 <= found.get("batch_delete_size", 1000) <= 1000:
        raise BadSpecification(f"credentials file, [{section}]: batch_delete_size must be 1 to 1000")
    if 0 < found.get("part_size", 0) < 5 * MIB:
        raise BadSpecification(f"credentials file, [{section}]: part_size must be 5MiB or more")
    return Options()._replace(**found)
