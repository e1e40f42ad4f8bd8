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
    "file": Protocol("local.backend"),
    "symlink": Protocol("local.backend"),
    "moveto": Protocol("local.backend"),
    "memory": Protocol("memory"),
    "http": Protocol("http.backend", "http"),
    "https": Protocol("http.backend", "http"),
    "webdav": Protocol("webdav.backend", "http"),
    "webdavs": Protocol("webdav.backend", "http"),
    "dav": Protocol("webdav.backend", "http"),
    "davs": Protocol("webdav.backend", "http"),
    "ftp": Protocol("ftp.backend", "http"),
    "ftps": Protocol("ftp.backend", "http"),
    "scp": Protocol("ssh.backend", "ssh"),
    "sftp": Protocol("ssh.backend", "ssh"),
    "gsiftp": Protocol("gridftp.backend"),
    "sshftp": Protocol("gridftp.backend"),
    "srm": Protocol("srm.backend"),
    "httpg": Protocol("srm.backend"),
    "s3": Protocol("s3.backend", "s3"),
    "s3s": Protocol("s3.backend", "s3"),
    "root": Protocol("xrootd.backend", "xrootd"),
    "roots": Protocol("xrootd.backend", "xrootd"),
    "xroot": Protocol("xrootd.backend", "xrootd"),
    "xroots": Protocol("xrootd.backend", "xrootd"),
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
