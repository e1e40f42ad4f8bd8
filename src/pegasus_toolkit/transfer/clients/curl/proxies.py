"""What the environment says about proxies. Only ``Settings`` is read here."""

from __future__ import annotations

from collections.abc import Mapping


class Proxies:
    """Which proxy serves which URL; one that was found bad is not asked again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.bad: set[str] = set()
        self._environ = environ
        self._found: dict[tuple[str, str], str] = {}

    def of(self, scheme: str, host: str) -> str:
        """The proxy's URL (it may hold a password), "" to go straight to ``host``."""
        key = scheme, host
        proxy = self._found.get(key)
        if proxy is None:
            proxy = self._found[key] = self._find(scheme, host)
        return "" if proxy in self.bad else proxy

    def _find(self, scheme: str, host: str) -> str:
        # Upper-case HTTP_PROXY is not read: a web server sets it from a client's header.
        names = [f"{scheme}_proxy"] + ([f"{scheme.upper()}_PROXY"] if scheme != "http" else [])
        proxy = self._first(*names)
        if not proxy and scheme == "http":
            proxy = self._first("OSG_SQUID_LOCATION")
            proxy = "" if proxy.upper() == "UNAVAILABLE" else proxy
        proxy = proxy or self._first("all_proxy", "ALL_PROXY")
        return "" if proxy and self._excepted(host) else proxy

    def _first(self, *names: str) -> str:
        return next((value for name in names if (value := self._environ.get(name, "").strip())), "")

    def _excepted(self, host: str) -> bool:
        names = self._first("no_proxy", "NO_PROXY").lower().replace(",", " ").split()
        whole = host.lower()
        bare, colon, port = whole.rpartition(":")
        bare = (bare if colon and port.isdigit() else whole).strip("[]")
        return any(_matches(name, bare) or name == whole for name in names)


def _matches(name: str, host: str) -> bool:
    """Whether an item of no_proxy (``*``, a domain, an address, a network) stands for the host."""
    if "/" in name:
        import ipaddress

        try:
            return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
        except ValueError:
            return False
    name = name.strip("[]").removeprefix("*").removeprefix(".") if name != "*" else name
    return name in ("*", host) or host.endswith(f".{name}")
