"""Variables that name HTTP proxies, where they are written down for others to see."""

from __future__ import annotations

from collections.abc import Mapping

VARIABLES = ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "OSG_SQUID_LOCATION")


def without_passwords(environ: Mapping[str, str]) -> dict[str, str]:
    """Those that are set and hold no password."""
    return {name: environ[name] for name in VARIABLES if "@" not in environ.get(name, "@")}
