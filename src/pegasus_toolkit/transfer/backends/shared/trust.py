"""Which certificate authorities are trusted, as the environment and the system say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

# Where Debian, Red Hat, SUSE, Alpine keep the system's authorities.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
)


def authorities(environ: Mapping[str, str]) -> tuple[str, str]:
    """File and directory of trusted certificate authorities, "" where there is none.

    The libcurl in a wheel was built elsewhere, so the system's own have to be found.
    """
    file = environ.get("CURL_CA_BUNDLE") or environ.get("SSL_CERT_FILE") or ""
    directory = environ.get("SSL_CERT_DIR") or environ.get("X509_CERT_DIR") or ""
    if not file:
        file = next((name for name in _BUNDLES if Path(name).is_file()), "")
    if not file:
        try:
            file = str(import_module("certifi").where())
        except ModuleNotFoundError:
            return "", directory
    return file, directory.partition(os.pathsep)[0]
