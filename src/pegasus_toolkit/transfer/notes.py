"""What a run writes down before a kill could make it needed, for the next run with the same journal.

``Settings.notes`` and ``Control.notes`` are the same object. With ``--journal`` it is the journal; else
this class, which remembers for the attempts of one run only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pegasus_toolkit.transfer.interface import Endpoint
    from pegasus_toolkit.transfer.model import Operation
    from pegasus_toolkit.transfer.records.journal import Record


class Notes:
    """Facts by a key, and temporary names at servers. Every method may be called from any thread.

    ``lasting``: a later run reads them, too. ``name``: that of the first run that wrote here; no other
    journal has it.
    """

    lasting = False

    def __init__(self, name: str = "") -> None:
        self.name = name or os.urandom(8).hex()
        self._marks: set[int] = set()
        self._kept: dict[int, str] = {}

    def mark(self, *fact: str | int) -> None:
        """Notes a fact, such as "this very file is about to be moved there"."""
        self._marks.add(key(*fact))

    def marked(self, *fact: str | int) -> bool:
        """Whether this run, or an earlier one with the same journal, has noted that fact."""
        return key(*fact) in self._marks

    def keep(self, value: str, *fact: str | int) -> None:
        """Notes a value for a fact ("" forgets it): the name of what a server does for us, say."""
        if value:
            self._kept[key(*fact)] = value
        else:
            self._kept.pop(key(*fact), None)

    def kept(self, *fact: str | int) -> str:
        """The value that this run, or an earlier one with the same journal, has noted last; "" for none."""
        return self._kept.get(key(*fact), "")

    def recall(self, operations: Iterable[Operation]) -> Iterator[Record]:
        """What is known of each of the ``operations`` that an earlier run has done and that has a digest."""
        return iter(())

    def aside(self, endpoint: Endpoint, path: str, name: str) -> None:
        """A temporary ``name`` for ``path`` may exist at ``endpoint`` from now on.

        To be called before the first request that may make it. The name must be one that no other
        run has, since the next run with the journal removes it, unless ``path`` was done by then.
        Both are paths as the backend's verbs take them. Nobody has to say that it is gone.
        """


def key(*parts: str | int) -> int:
    """96 bits of a hash of the parts."""
    from hashlib import blake2b  # most runs need it for their digests only, and later

    text = "\0".join(map(str, parts)).encode(errors="surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=12).digest(), "big")
