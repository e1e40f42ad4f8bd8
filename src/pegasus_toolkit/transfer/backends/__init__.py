"""The table of protocols: one line each. A module is imported when its first URL is met."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Opener, Settings


class Protocol(NamedTuple):
    """Where a scheme's code is: module in this package, and the extra that brings its library."""

    module: str
    extra: str = ""


PROTOCOLS: dict[str, Protocol] = {
    "file": Protocol("local"),
    "symlink": Protocol("local"),
    "moveto": Protocol("local"),
    "memory": Protocol("memory"),
    "http": Protocol("http", "http"),
    "https": Protocol("http", "http"),
    "webdav": Protocol("webdav", "http"),
    "webdavs": Protocol("webdav", "http"),
    "dav": Protocol("webdav", "http"),
    "davs": Protocol("webdav", "http"),
    "ftp": Protocol("ftp", "http"),
    "ftps": Protocol("ftp", "http"),
    "scp": Protocol("ssh", "ssh"),
    "sftp": Protocol("ssh", "ssh"),
    "gsiftp": Protocol("gridftp"),
    "sshftp": Protocol("gridftp"),
    "srm": Protocol("srm"),
    "httpg": Protocol("srm"),
    "s3": Protocol("s3", "s3"),
    "s3s": Protocol("s3", "s3"),
    "root": Protocol("xrootd", "xrootd"),
    "roots": Protocol("xrootd", "xrootd"),
    "xroot": Protocol("xrootd", "xrootd"),
    "xroots": Protocol("xrootd", "xrootd"),
}


def opener(scheme: str) -> Opener:
    """The function that opens a backend for ``scheme``: its module's ``open_backend``.

    What is not in the table is left to fsspec. Raises ``Unsupported`` for what is not there either, or
    where an extra is not installed.
    """
    protocol = PROTOCOLS.get(scheme, Protocol("fsspec_any", "fsspec"))
    try:
        module = import_module(f"{__name__}.{protocol.module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pegasus_toolkit"):
            raise
        if scheme not in PROTOCOLS:
            known = ", ".join(sorted(PROTOCOLS))
            raise Unsupported(
                f"no protocol {scheme!r} here",
                hint=f"known are: {known}; for others pip install 'pegasus-toolkit[fsspec]'",
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
