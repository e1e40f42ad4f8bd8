"""What all kinds of nodes share while they work: the record that grows, expected digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pegasus_toolkit.integrity.meta import Expected, Metadata, MetaError, read
from pegasus_toolkit.planner.model import NodeFile
from pegasus_toolkit.worker.failure import EXIT_PERMANENT, Failed
from pegasus_toolkit.worker.record import Record
from pegasus_toolkit.worker.stopping import Stopping


class Work:
    """One node on its way.

    ``start``: the absolute path of the directory of its record, the job's own unless ``shared``, as it is on
    the submit host. ``meta``: what goes
    into ``NAME.meta``. ``abandoned``: threads hang in calls, so the process must end without them.
    """

    def __init__(
        self,
        node: NodeFile,
        *,
        start: str,
        bundle: str,
        environ: Mapping[str, str],
        record: Record,
        stop: Stopping,
        shared: bool = False,
    ) -> None:
        self.node = node
        self.shared = shared or node.site == "local"
        self.start = start
        self.bundle = bundle
        self.environ = environ
        self.record = record
        self.stop = stop
        self.meta: dict[str, Expected] = {}
        self.abandoned = 0
        self._told: Metadata | None = None

    @property
    def algorithm(self) -> str:
        """Of digests that are taken; "" where integrity is not checked."""
        return "sha256" if self.node.verify else ""

    def told(self, lfn: str) -> Expected | None:
        """What the ``.meta`` files of nodes before say of a file. Raises :class:`Failed`."""
        if not self.node.verify:
            return None
        if self._told is None:
            self._told = read(f"{self.start}/{name}.meta" for name in self.node.metas)
        try:
            return self._told.find(lfn) if lfn in self._told else None
        except MetaError as error:
            raise Failed(str(error), EXIT_PERMANENT, "no digest") from None

    def unknown(self) -> str:
        """What to tell where a digest is missing: the ``.meta`` files that could not be read."""
        broken = self._told.broken if self._told is not None else []
        return f"; {'; '.join(broken)}" if broken else ""

    def made(self, files: Iterable[tuple[str, Expected]]) -> None:
        """These go into the node's ``.meta`` file."""
        self.meta.update(files)
