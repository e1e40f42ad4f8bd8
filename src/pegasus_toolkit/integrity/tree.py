"""The files of a directory, and one rule for symbolic links: for manifests, listings, copies and syncs.

What a link leads to is taken for what stands at the link's name. A link that leads out of the directory is
not followed unless that is asked for. What is no file at all (a dangling link, a FIFO, a device) is told,
never opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple

LinkRule = Literal["inside", "follow", "skip", "copy"]
"""What is done about symbolic links: "inside" follows those that stay in the directory and skips the others;
"follow" follows all; "skip" none; "copy" tells them as links."""


class Node(NamedTuple):
    """What stands at a name below a directory.

    ``status``: of the file, links followed; ``None`` for what is skipped. ``directory``: an empty one, or
    one that is skipped. ``link``: what a link says, where links are told as links. ``skipped``: why it is
    left out.
    """

    name: str
    status: os.stat_result | None
    directory: bool = False
    link: str = ""
    skipped: str = ""


class Circle(OSError):
    """A link leads to a directory that it stands in; ``filename`` is the link."""


_KIND, _FILE = 0o170000, stat.S_IFREG
Above = tuple[tuple[int, int], ...]  # device and inode of a directory and those that it stands in


def walk(root: str, links: LinkRule = "inside") -> Iterator[Node]:
    """All files below ``root`` at any depth, and empty directories; in each directory, files first.

    Raises ``OSError`` for a directory that cannot be read, with its path.
    """
    top = os.path.realpath(root).rstrip("/") + "/"
    info = os.stat(root)  # noqa: PTH116
    waiting: list[tuple[str, Above]] = [("", ((info.st_dev, info.st_ino),))]
    while waiting:
        below, above = waiting.pop()
        with os.scandir(f"{root.rstrip('/')}/{below}" if below else root) as listing:
            entries = sorted(listing, key=_name)
        if not entries and below:
            yield Node(below.rstrip("/"), None, True)
        deeper: list[tuple[str, Above]] = []
        for entry in entries:
            name = below + entry.name
            try:
                node = _node(entry, name, links, top)
            except FileNotFoundError:  # it went meanwhile
                continue
            status = node.status
            if not node.directory or status is None:
                yield node
                continue
            here = (status.st_dev, status.st_ino)
            if here not in above:
                deeper.append((name + "/", (*above, here)))
            elif links == "follow":
                raise Circle(errno.ELOOP, "symbolic links lead in a circle", entry.path)
            else:
                yield Node(name, None, True, skipped="a link to a directory that it stands in")
        waiting.extend(reversed(deeper))


def _node(entry: os.DirEntry[str], name: str, links: LinkRule, top: str) -> Node:
    """``directory`` with a ``status``: it is to be gone into."""
    if entry.is_symlink():
        return _linked(entry, name, links, top)
    status = entry.stat(follow_symlinks=False)
    kind = status.st_mode & _KIND
    if kind == _FILE:
        return Node(name, status)
    if kind == stat.S_IFDIR:
        return Node(name, status, True)
    return Node(name, None, skipped=_special(status.st_mode))


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _linked(entry: os.DirEntry[str], name: str, links: LinkRule, top: str) -> Node:
    """A link: what it leads to (``directory`` with its status: to be gone into), or why it is left out."""
    if links == "copy":
        return Node(name, None, link=os.readlink(entry.path))  # noqa: PTH115
    if links == "skip":
        return Node(name, None, skipped="a symbolic link")
    try:
        status = entry.stat()
    except OSError:
        return Node(name, None, skipped="a link that leads nowhere")
    directory = stat.S_ISDIR(status.st_mode)
    if links == "inside" and not f"{os.path.realpath(entry.path)}/".startswith(top):
        return Node(name, None, directory, skipped="a link that leads out of the directory")
    if not directory and not stat.S_ISREG(status.st_mode):
        return Node(name, None, skipped=_special(status.st_mode))
    return Node(name, status, directory)


def _special(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "no regular file")
