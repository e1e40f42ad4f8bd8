"""How a source and a destination are joined: the cheapest way that both ends can do."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer.errors import Unsupported
from pegasus_toolkit.transfer.interface import Backend, Copies, Endpoint, Links, Passive, Renames, Requirement

Verb = Literal[
    "link", "move", "copy", "get", "put", "relay", "pipe", "staged", "mkdir", "remove", "remove-tree", "list"
]  # fmt: skip


class Ends(NamedTuple):
    """The backends of a source and a destination."""

    reader: Backend
    writer: Backend


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
LIST = Route("directory", "list", "a directory: its files are moved one by one")
REMOVE_TREE = Route("remove", "remove-tree", "")


def choose(
    source: Endpoint, destination: Endpoint, borrow_backends: Ends, required: Requirement, symlink: bool
) -> Route:
    """The route from ``source`` to ``destination``. Raises ``Unsupported`` when there is none."""
    reader, writer = borrow_backends
    local = source.scheme in LOCAL and destination.scheme in LOCAL
    if destination.scheme == "moveto" and not (local and isinstance(reader, Renames)):
        raise Unsupported(f"moveto: needs a local source, not {source.scheme}:")
    if destination.scheme == "moveto":
        return RENAME
    if destination.scheme == "symlink" and local and isinstance(reader, Links):
        return LINK  # from elsewhere it is a copy: there is nothing here to point to
    if symlink and local and source.site == destination.site and isinstance(reader, Links):
        return SITE_LINK
    if isinstance(reader, Copies) and reader.copies(writer, required):
        return LOCAL_COPY if local else SERVER_SIDE
    return through_here(reader, writer)


def through_here(reader: Backend, writer: Backend) -> Route:
    """The route on which the bytes pass through this process."""
    if isinstance(writer, Passive):
        return DOWNLOAD
    if isinstance(reader, Passive):
        return UPLOAD
    return RELAY if reader.abilities.streams and writer.abilities.streams else STAGED
