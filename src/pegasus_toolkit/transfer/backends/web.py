"""Web servers: read as HTTP has it, or as WebDAV, where the site's section says ``webdav = yes``."""

from __future__ import annotations

from importlib import import_module

from pegasus_toolkit.transfer.backends.http.site import marked
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Opener, Settings


def open_backend(endpoint: Endpoint, settings: Settings) -> Backend:
    """The opener that the table of protocols names. Connects to nothing yet."""
    name = "webdav" if marked(endpoint, settings) else "http"
    module = import_module(f"pegasus_toolkit.transfer.backends.{name}.backend")
    opener: Opener = module.open_backend
    return opener(endpoint, settings)
