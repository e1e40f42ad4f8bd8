"""GridFTP: ``gsiftp://`` with a proxy, ``sshftp://`` through ssh; who moves the bytes is chosen here."""

from __future__ import annotations

import shutil

from pegasus_toolkit.transfer.backends.gridftp.direct import GridFtp
from pegasus_toolkit.transfer.backends.gridftp.login import GsiConnector, connector, tool_missing
from pegasus_toolkit.transfer.errors import BadSpecification
from pegasus_toolkit.transfer.interface import Endpoint, Settings

SETTING = "data_channel_authentication"


def open_backend(endpoint: Endpoint, settings: Settings) -> GridFtp:
    """Connects to nothing yet. Raises ``BadSpecification``, ``CredentialError`` for a proxy that is over.

    ``globus-url-copy`` moves the bytes of ``gsiftp``, over authenticated data connections, where the site's
    section says ``data_channel_authentication = self``, or PEGASUS_FORCE_GUC is set.
    """
    found = connector(endpoint, settings)
    if not isinstance(found, GsiConnector):
        return GridFtp(found, settings, endpoint)
    told = settings.credentials.options(endpoint.scheme, endpoint.authority, endpoint.site).get(SETTING)
    wanted = told.reveal().lower() if told is not None else "none"
    if wanted not in ("self", "none"):
        raise BadSpecification(f"{SETTING} is neither 'self' nor 'none'", url=found.url)
    if wanted == "none" and "PEGASUS_FORCE_GUC" not in settings.environ:
        return GridFtp(found, settings, endpoint)
    from pegasus_toolkit.transfer.backends.gridftp.guc import Guc

    tool = shutil.which("globus-url-copy", path=settings.environ.get("PATH"))
    if tool is None:
        package = "globus-gass-copy-progs"
        raise tool_missing("globus-url-copy, for authenticated data connections", package, package, found.url)
    return Guc(found, settings, endpoint, tool)
