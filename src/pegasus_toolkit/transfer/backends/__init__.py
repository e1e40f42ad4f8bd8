"""Opens backends: the module of a scheme, by the table of schemes, is imported when its first URL is met."""

from __future__ import annotations

from importlib import import_module

from pegasus_toolkit.schemes import SCHEMES, Scheme, known
from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Opener, Settings

_BY_FSSPEC = Scheme("fsspec_any", "fsspec")


def opener(scheme: str) -> Opener:
    """The function that opens a backend for ``scheme``: its module's ``open_backend``.

    What is not in the table is left to fsspec. Raises ``Unsupported`` for what is not there either, or
    where an extra is not installed.
    """
    protocol = SCHEMES.get(scheme, _BY_FSSPEC)
    protocol = protocol if protocol.module else _BY_FSSPEC
    try:
        module = import_module(f"{__name__}.{protocol.module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pegasus_toolkit"):
            raise
        if protocol is _BY_FSSPEC:
            raise Unsupported(
                f"no protocol {scheme!r} here",
                hint=f"known are: {', '.join(known())}; for others pip install 'pegasus-toolkit[fsspec]'",
            ) from error
        raise Unsupported(
            f"{scheme}: needs the Python package {error.name!r}, which is not installed",
            hint=f"pip install 'pegasus-toolkit[{protocol.extra}]'",
        ) from error
    found: Opener = module.open_backend
    return found


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """Opens the endpoint with the backend of its scheme."""
    return opener(endpoint.scheme)(endpoint, settings)
