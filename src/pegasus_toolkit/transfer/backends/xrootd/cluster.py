"""A manager with its data servers: one namespace, of which each server holds a part.

A manager sends a request to one of the servers that have the path, so its answer says nothing of the
others: what is replaced or removed must go from every one of them, and a listing is that of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pegasus_toolkit.transfer.backends.shared import trees
from pegasus_toolkit.transfer.backends.shared.files import Page, Sending, Stored
from pegasus_toolkit.transfer.backends.shared.runner import All, Pause, Steps
from pegasus_toolkit.transfer.backends.xrootd.errors import NOT_FOUND
from pegasus_toolkit.transfer.backends.xrootd.files import XrootdFiles
from pegasus_toolkit.transfer.backends.xrootd.site import Site
from pegasus_toolkit.transfer.clients.xrootd.library import flags
from pegasus_toolkit.transfer.errors import NotFound, ServerFault, TransferError

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds


class ClusterFiles(XrootdFiles):
    """What the manager is asked, and what each server is."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._servers: dict[str, XrootdFiles] = {}
        self._aside: dict[str, str] = {}  # where each name aside is

    def at(self, authority: str) -> XrootdFiles:
        """One of the data servers."""
        if authority not in self._servers:
            self._servers[authority] = XrootdFiles(self.site.at(authority))
        return self._servers[authority]

    def located(self, path: str, anew: bool = False) -> Steps[list[str]]:
        """The servers that have it. ``anew``: what the manager remembers does not count.

        It waits for all of its servers, which takes seconds for what it does not remember.
        """
        plain = self.split(path)[0]
        if plain in self._aside:
            return [self._aside[plain]]
        how = flags.OpenFlags.REFRESH if anew else flags.OpenFlags.NONE
        status, told = yield self.site.files.deeplocate, self.site.path(path), how
        if not status.ok:
            if status.errno == NOT_FOUND:
                return []
            raise self.site.error(status, path)
        return sorted({str(one.address) for one in told})

    def _each(self, path: str, primitive: Callable[[XrootdFiles], Steps[Any]]) -> Steps[list[Any]]:
        """The same at every server that has it; all are asked before the first error is raised."""
        servers = yield from self.located(path, anew=True)
        if not servers:
            raise NotFound("no server has it", url=self.url(path))
        answers = yield All(primitive(self.at(one)) for one in servers)
        wrong = [one for one in answers if isinstance(one, TransferError) and not isinstance(one, NotFound)]
        if wrong:
            raise wrong[0]
        told = [one for one in answers if not isinstance(one, TransferError)]
        if not told:
            raise answers[0]
        return told

    # -- files -------------------------------------------------------------------------------------

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """Where an old file of the final name is, so that the new one can take its place at once; else
        where the manager wants it."""
        old = yield from self.located(sending.job.path)
        if old and sending.job.path != name:
            self._aside[self.split(name)[0]] = old[0]
            return (yield from self.at(old[0]).write(sending, name))
        return (yield from super().write(sending, name))

    def taken(self, file: Any, name: str) -> Steps[XrootdFiles]:
        """As the library tells it."""
        yield from ()
        server = str(file.get_property("DataServer"))
        if not server:
            raise ServerFault("the manager does not tell which server took the file", url=self.url(name))
        self._aside[self.split(name)[0]] = server
        return self.at(server)

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """At the server that has it; then no other may hold an old file of the new name."""
        servers = yield from self.located(old)
        if not servers:
            raise NotFound("no server has it", url=self.url(old))
        others = [one for one in (yield from self.located(new, anew=True)) if one != servers[0]]
        if others and not replace:
            yield from self._free(new)
        yield from self.at(servers[0]).rename(old, new, replace)
        self._aside.pop(self.split(old)[0], None)
        answers = yield All(self.at(one).unlink(new) for one in others)
        for one in answers:
            if isinstance(one, TransferError) and not isinstance(one, NotFound):
                one.message = f"the new file stands, but an old one could not be removed: {one.message}"
                raise one
        yield from self._seen(new)

    def _seen(self, path: str) -> Steps[None]:
        """The manager has heard of a new file. It remembers for a moment that there was none."""
        for pause in PAUSES:
            status, _ = yield self.site.files.stat, self.site.path(path)
            if status.ok:
                return
            yield Pause(pause)
        raise ServerFault("the new file stands, but the manager does not find it", url=self.url(path))

    def unlink(self, path: str) -> Steps[None]:
        """From all that have it."""
        yield from self._each(path, lambda files: files.unlink(path))
        self._aside.pop(self.split(path)[0], None)

    def checksum(self, path: str, algorithm: str) -> Steps[tuple[str, str]]:
        """By the first that has it."""
        servers = yield from self.located(path)
        if not servers:
            raise NotFound("no server has it", url=self.url(path))
        return (yield from self.at(servers[0]).checksum(path, algorithm))

    # -- directories -------------------------------------------------------------------------------

    def rmdir(self, path: str) -> Steps[None]:
        """From all that have it."""
        yield from self._each(path, lambda files: files.rmdir(path))

    def clear(self, path: str) -> Steps[bool]:
        """The part of each server."""
        yield from self._each(path, lambda files: trees.remove(files, path, True))
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """All parts; what several have is told once, of one that knows it."""
        pages = yield from self._each(path, lambda files: files.scan(path, None))
        names = {}
        for page in pages:
            for one in page.found:
                if one.name not in names or one.directory:
                    names[one.name] = one
        return Page(list(names.values()))


def is_cluster(files: XrootdFiles) -> Steps[bool]:
    """Whether it is a manager of servers that are asked by name. Other redirectors (EOS, dCache) know all of
    their namespace themselves."""
    if "manager" not in (yield from files.configured("role")):
        return False
    return (yield from files.configured("cms")) not in ("", "none")
