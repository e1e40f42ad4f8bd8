"""From an operation to a task, a route and a lane. Nothing is moved here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from pegasus_toolkit.transfer.engine import routes
from pegasus_toolkit.transfer.engine.lanes import SPOOL, Key, Lane
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.runtime import Runtime
from pegasus_toolkit.transfer.engine.tasks import Task
from pegasus_toolkit.transfer.errors import BadSpecification, TransferError, Transient, translate
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Requirement, ServedBy
from pegasus_toolkit.transfer.model import Checksum, Mkdir, Operation, Outcome, Remove, Transfer

if TYPE_CHECKING:
    from pegasus_toolkit.integrity import meta

NOTHING = Requirement(algorithm="")
EXPANDS = frozenset({"get", "put", "copy", "relay", "pipe", "staged"})


class Planner:
    """Decides how each operation goes; asks backends for their abilities only.

    ``algorithm``: digest to be taken of every stream ("" for none but those that are expected);
    ``done``: whether an earlier run has finished an operation; ``directory``: where ``.meta`` files are.
    """

    def __init__(
        self,
        pool: Pool,
        runtime: Runtime,
        *,
        algorithm: str,
        symlink: bool,
        directory: str,
        done: Callable[[Operation], bool] | None,
    ) -> None:
        self.pool = pool
        self.algorithm = algorithm
        self.symlink = symlink
        self.directory = directory
        self.done = done
        self.runtime = runtime
        self.default = Requirement(algorithm=algorithm)
        self.kept: set[tuple[Endpoint, str]] = set()  # sources whose transfer failed
        self._meta: meta.Metadata | None = None

    # -- operations ------------------------------------------------------------------------------

    def skip(self, operation: Operation) -> Outcome | None:
        """The outcome of an operation that an earlier run has finished."""
        if self.done is None or not self.done(operation):
            return None
        return Outcome(operation=operation, status="skipped", detail="done by an earlier run")

    def task(self, operation: Operation) -> Task | Outcome:
        """A task; or the outcome of what can't even be tried."""
        try:
            required = self._want(operation) if isinstance(operation, Transfer) else NOTHING
            if isinstance(operation, Remove):
                self._guard(operation)
        except TransferError as error:
            return self.unplanned(operation, error)
        return Task(operation, required, self.runtime)

    def unplanned(self, operation: Operation, error: BaseException) -> Outcome:
        """The outcome of what can't even be tried."""
        task = Task(operation, NOTHING, self.runtime)
        task.tried("none", 0, translate(error))
        self.note_failure(task)
        return task.failed()

    def _want(self, operation: Transfer) -> Requirement:
        checksum = operation.checksum
        if operation.generate_checksum and not operation.lfn:
            raise BadSpecification("generate_checksum needs an lfn", url=operation.sources[0].url)
        size = operation.size
        if operation.verify_checksum_remote and checksum is None and operation.lfn:
            expected = self._from_meta(operation.lfn)
            if expected is not None:
                checksum = Checksum(expected.algorithm, expected.digest)  # which decides, whatever its size
        plain = checksum is None and operation.size is None and not operation.verify_checksum_remote
        plain = plain and operation.modified is None
        if plain and (self.algorithm == "sha256" or not operation.generate_checksum):
            return self.default
        algorithm = "sha256" if operation.generate_checksum else self.algorithm
        if not algorithm and (checksum is not None or operation.verify_checksum_remote):
            algorithm = checksum.type if checksum is not None else "sha256"
        also: tuple[tuple[str, str], ...] = ()
        digest = ""
        if checksum is not None:
            if checksum.type == algorithm:
                digest = checksum.value
            else:
                also = ((checksum.type, checksum.value),)
        remote, modified = operation.verify_checksum_remote, operation.modified
        return Requirement(algorithm, digest, size, remote, also, modified)

    def _from_meta(self, lfn: str) -> meta.Expected | None:
        """What the ``.meta`` files in the working directory expect, as upstream reads them.

        A file of which they say nothing is compared with what was read from its source.
        """
        from pegasus_toolkit.integrity import meta

        try:
            if self._meta is None:
                self._meta = meta.read_directory(self.directory)
            return self._meta.find(lfn) if lfn in self._meta else None
        except (OSError, meta.MetaError) as error:
            raise BadSpecification(f"cannot use the .meta files: {error}", url=self.directory) from error

    def _guard(self, operation: Remove) -> None:
        """Keeps the only copy: what failed to be transferred is not removed."""
        if not self.kept:
            return
        target = operation.target
        path = target.path.rstrip("/")
        for endpoint, kept in self.kept:
            if endpoint[:2] == target.endpoint[:2] and (kept == path or kept.startswith(path + "/")):
                raise Transient("not removed, because its transfer failed", url=target.url)

    def note_failure(self, task: Task) -> None:
        """The task failed: its sources must stay."""
        if isinstance(task.operation, Transfer):
            self.kept.update((s.endpoint, s.path) for s in task.operation.sources)

    # -- lanes -------------------------------------------------------------------------------------

    def key(self, task: Task) -> Key:
        """Which lane: tasks with one key have one route."""
        operation, destination = task.operation, task.destination
        if isinstance(operation, Transfer):
            source = task.source
            assert source is not None
            if source.path.endswith("/"):
                return Key("list", source.endpoint, destination.endpoint)
            required = task.required
            large = task.large or (required.size is not None and required.size > SPOOL)
            checked = bool(required.digest or required.also)
            record = operation.generate_checksum
            flags = (
                operation.verify_symlink_source,
                checked,
                required.remote,
                large,
                record,
                task.through_here,
            )
            return Key("transfer", source.endpoint, destination.endpoint, flags)
        if isinstance(operation, Mkdir):
            return Key("mkdir", None, destination.endpoint)
        return Key("remove", None, destination.endpoint, (operation.recursive,))

    def lane(self, key: Key, task: Task) -> Lane:
        """A new lane for that key. Raises when there is no route, credential or extra."""
        writer = self._open(key.destination, "destination")
        if key.verb == "mkdir":
            return Lane(key, routes.MKDIR, 1, 1 if writer.abilities.pipelined else 4)
        if key.verb == "remove":
            remove = routes.REMOVE_TREE if key.flags[0] else routes.REMOVE
            return Lane(key, remove, 1, 1 if writer.abilities.pipelined else 4)
        assert key.source is not None
        reader = self._open(key.source, "source")
        if key.verb == "list":
            return Lane(key, routes.LIST, 1, 1)
        route = self.route(task, reader, writer)
        active = {
            "put": [writer],
            "relay": [reader, writer],
            "staged": [reader, writer],
        }
        used = active.get(route.verb, [reader])
        in_flight = 1 if route.verb == "pipe" else min(b.abilities.in_flight for b in used)
        threads = [b.abilities.threads for b in used if b.abilities.threads]
        pipelined = all(b.abilities.pipelined for b in used)
        waits = any(b.abilities.waits for b in used)
        return Lane(key, route, max(1, in_flight), min(threads, default=0), pipelined=pipelined, waits=waits)

    def route(self, task: Task, reader: Backend, writer: Backend) -> routes.Route:
        """How this one goes."""
        source, (large, record, through_here) = task.source, self.key(task).flags[3:]
        assert source is not None
        borrow_backends = routes.Ends(reader, writer)
        route = routes.choose(
            source.endpoint, task.destination.endpoint, borrow_backends, task.required, self.symlink
        )
        if (route is routes.SERVER_SIDE and record) or (route.verb == "copy" and through_here):
            route = routes.through_here(*borrow_backends)  # for the record's digest, or as it will not copy
        route = routes.PIPE if route is routes.RELAY and large else route
        names = dict.fromkeys(end.served_by for end in borrow_backends if isinstance(end, ServedBy))
        return route._replace(kind=f"{route.kind} by {', '.join(names)}") if names else route

    def _open(self, endpoint: Endpoint, side: str) -> Backend:
        try:
            return self.pool.sample(endpoint)
        except TransferError as error:
            mine = copy.copy(error)
            mine.side = "source" if side == "source" else "destination"
            raise mine from error

    # -- directories -------------------------------------------------------------------------------

    def expandable(self, task: Task, verb: str) -> bool:
        """Whether a source that turned out to be a directory can be listed and moved file by file."""
        return verb in EXPANDS and task.parent is None and not task.required.digest and not task.required.also

    def tree(self, task: Task) -> Lane:
        """The lane in which the task's source is listed."""
        assert task.source is not None
        key = Key("list", task.source.endpoint, task.destination.endpoint)
        return Lane(key, routes.LIST, 1, 1)
