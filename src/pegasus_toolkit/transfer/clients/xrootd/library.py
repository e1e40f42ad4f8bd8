"""The library, and its settings for a process."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

client: Any = import_module("XRootD.client")  # which has half of its types
flags: Any = import_module("XRootD.client.flags")


def has_tls() -> bool:
    """Whether ``roots`` means TLS. Once the library found no authorities, it takes servers that are too old
    for TLS without it, in silence."""
    return not client.EnvGetInt("NoTlsOK")


def configure(connect_timeout: float, stall_timeout: float) -> None:
    """Seconds; where the user's environment (XRD_...) says nothing else.

    The engine decides what is tried again and when, so the library shall neither wait nor remember
    a host that did not answer.
    """
    connect, stall = max(1, int(connect_timeout)), max(1, int(stall_timeout))
    numbers = {
        "ConnectionWindow": connect,
        "ConnectionRetry": 1,
        "StreamErrorWindow": 0,
        "RequestTimeout": stall,
        "StreamTimeout": stall,
        "TimeoutResolution": 1,
        "MetalinkProcessing": 0,
        "NotAuthorizedRetryLimit": 1,
    }
    for key, number in numbers.items():
        client.EnvPutInt(key, number)
    for key in ("ReadRecovery", "WriteRecovery"):
        client.EnvPutString(key, "false")


def trust(directory: str, file: str) -> None:
    """Names the trusted authorities, of which one may be "", for all sites of this process.

    The library looks for them in the process's environment, once, and nowhere else.
    """
    if directory:
        os.environ.setdefault("X509_CERT_DIR", directory)
    elif file and not os.environ.get("X509_CERT_DIR"):
        os.environ.setdefault("X509_CERT_FILE", file)
