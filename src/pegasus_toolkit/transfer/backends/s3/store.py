"""Small objects, whole, by obstore: its sync API only, since its async one may abort at exit."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from pegasus_toolkit.transfer.backends.s3.errors import code_in, failure
from pegasus_toolkit.transfer.errors import BadSpecification, TransferError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

    from pegasus_toolkit.transfer.backends.s3.site import Site
    from pegasus_toolkit.transfer.interface import Data, Settings, Sink

_LONGEST = timedelta(hours=1)  # for one request; a stall ends it long before
_UNFIT = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\ud800-\udfff]")


def fits(key: str) -> bool:
    """Whether obstore's paths hold this key: no empty, ``.`` or ``..`` part, no control character."""
    return _UNFIT.search(key) is None


class Stores:
    """One obstore store, and so one pool of connections, for each bucket."""

    def __init__(self, site: Site, settings: Settings) -> None:
        self._site = site
        self._settings = settings
        self._stores: dict[str, S3Store] = {}

    def load(self, bucket: str, key: str, sink: Sink, most: int) -> int | None:
        """Reads the object into the sink; its size. Larger than ``most``: nothing was written, the size.

        ``None``: failed before the first byte in a way that obstore gives no type: ask by other means.
        """
        try:
            found = obstore.get(self._store(bucket), key)
        except GenericError:
            return None
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise self._typed(error, bucket, key) from error
        size = found.meta["size"]
        if size > most:
            return size
        sink.announce(size)
        try:
            content = memoryview(found.bytes())
        except BaseError:
            return None
        if size:
            sink.write(content)
        return size

    def save(self, bucket: str, key: str, content: Data) -> bool:
        """Writes the object. ``False``: failed in a way that obstore gives no type."""
        try:
            obstore.put(self._store(bucket), key, content, use_multipart=False)
        except GenericError:
            return False
        except (BaseError, FileNotFoundError, ValueError) as error:
            raise self._typed(error, bucket, key) from error
        return True

    def _typed(self, error: Exception, bucket: str, key: str) -> TransferError:
        site = self._site
        status = 0
        if isinstance(error, FileNotFoundError):
            status = 404
        elif isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            status = 403
        # The type says enough; the code within the text makes a better hint.
        code = code_in(str(error))
        return failure(status, code, url=site.path(bucket, key), host=site.host, who=site.who)

    def _store(self, bucket: str) -> S3Store:
        found = self._stores.get(bucket)
        if found is None:
            found = self._stores[bucket] = self._open(bucket)
        return found

    def _open(self, bucket: str) -> S3Store:
        """All that obstore would else take from the process's environment is said here."""
        site = self._site
        access, secret, token = site.access_key, site.secret_key, site.session_token

        def credential() -> S3Credential:
            return {
                "access_key_id": access.reveal() if access else "",
                "secret_access_key": secret.reveal() if secret else "",
                "token": token.reveal() if token else None,
                "expires_at": None,
            }

        return S3Store(
            bucket,
            endpoint=site.endpoint,
            aws_endpoint_url_s3=site.endpoint,
            region=site.region,
            skip_signature=access is None,
            unsigned_payload=False,
            virtual_hosted_style_request=False,
            s3_express=False,
            checksum_algorithm="SHA256",
            client_options=self._client(),
            retry_config={"max_retries": 0},
            credential_provider=credential,
        )

    def _client(self) -> ClientConfig:
        site, settings = self._site, self._settings
        options: ClientConfig = {
            "allow_http": site.endpoint.startswith("http:"),
            "allow_invalid_certificates": site.insecure,
            "connect_timeout": timedelta(seconds=settings.connect_timeout),
            "read_timeout": timedelta(seconds=settings.stall_timeout),
            "timeout": _LONGEST,
            "default_content_type": "application/octet-stream",
        }
        if site.ca_file:
            try:
                options["root_certificate"] = Path(site.ca_file).read_bytes()
            except OSError as error:
                raise BadSpecification(f"ca_file {site.ca_file} cannot be read: {error.strerror}") from None
        if site.proxy:
            options["proxy_url"] = site.proxy
        else:  # a proxy that is not used for this host keeps those of the environment out
            options["proxy_url"] = "http://127.0.0.1:9"
            options["proxy_excludes"] = urlsplit(site.endpoint).hostname or ""
        return options
