"""Which secret opens which site and host; imports nothing else of ours."""

from __future__ import annotations

from pegasus_toolkit.credentials.errors import CredentialError
from pegasus_toolkit.credentials.lookup import Credentials
from pegasus_toolkit.credentials.secret import Secret
from pegasus_toolkit.credentials.types import (
    GlobusCredential,
    GoogleCredential,
    HttpCredential,
    S3Credential,
    SshCredential,
    Token,
    X509Credential,
)

__all__ = [
    "CredentialError",
    "Credentials",
    "GlobusCredential",
    "GoogleCredential",
    "HttpCredential",
    "S3Credential",
    "Secret",
    "SshCredential",
    "Token",
    "X509Credential",
]
