"""How a source and a destination are joined: the cheapest way that both ends can do."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Copies, Endpoint, Links, Passive, Renames, Want

Verb = Literal["link", "move", "copy", "get", "put", "relay", "pipe", "staged", "mkdir", "remove", "remove-tree"]
LOCAL = frozenset({"file", "symlink", "moveto"})


class Route(NamedTuple):
    """``kind``: as people and reports read it; ``verb``: what the engine does; ``why``: the reason."""

    kind: str
    verb: Verb
    why: str


LINK = Route("link", "link", "the destination asks for a symbolic link")
SITE_LINK = Route("link", "link", "both on one site, and symlinks are allowed (-s)")
RENAME = Route("link", "move", "the destination asks for a rename")
LOCAL_COPY = Route("direct", "copy", "both are local files: one pass through this process")
SERVER_SIDE = Route("server-side", "copy", "the storage copies by itself")
DOWNLOAD = Route("direct", "get", "read straight into the local destination")
UPLOAD = Route("direct", "put", "written straight from the local source")
RELAY = Route("relay", "relay", "through memory, no temporary file")
PIPE = Route("relay", "pipe", "a large file, through a bounded pipe in memory")
STAGED = Route("staged", "staged", "one end can only move whole files: through a private local file")
MKDIR = Route("mkdir", "mkdir", "")
REMOVE = Route("remove", "remove", "")
REMOVE_TREE = Route("remove", "remove-tree", "")


def choose(
    source: Endpoint, giver: Backend, destination: Endpoint, taker: Backend, want: Want, symlink: bool
) -> Route:
    """The route from ``source`` to ``destination``. Raises ``Unsupported`` when there is none."""
    if destination.scheme == "symlink":
        if source.scheme not in LOCAL or not isinstance(giver, Links):
            raise Unsupported(f"a symbolic link needs a local source, not {source.scheme}:")
        return LINK
    if destination.scheme == "moveto":
        if source.scheme not in LOCAL or not isinstance(giver, Renames):
            raise Unsupported(f"moveto: needs a local source, not {source.scheme}:")
        return RENAME
    local = source.scheme in LOCAL and destination.scheme in LOCAL
    if symlink and local and source.site == destination.site and isinstance(giver, Links):
        return SITE_LINK
    if isinstance(giver, Copies) and giver.copies(taker, want):
        return LOCAL_COPY if local else SERVER_SIDE
    if isinstance(taker, Passive):
        return DOWNLOAD
    if isinstance(giver, Passive):
        return UPLOAD
    if giver.abilities.streams and taker.abilities.streams:
        return RELAY
    return STAGED
