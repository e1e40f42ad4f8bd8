"""A directory as a source: listed, then its files are moved one by one, each verified for itself."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, unquote

from pegasus_toolkit.integrity import manifest
from pegasus_toolkit.schemes import LOCAL
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.engine.tasks import Parent, Task
from pegasus_toolkit.transfer.engine.worker import Worker
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    NotFound,
    TransferError,
    translate,
)
from pegasus_toolkit.transfer.interface import Backend, Entry, Job
from pegasus_toolkit.transfer.model import Checksum, Location, Mkdir, Operation, Transfer
from pegasus_toolkit.transfer.units import plural


def list_trees(worker: Worker) -> None:
    """Turns each directory that waits in this lane into its files."""

    def prepare(task: Task) -> Job[None]:
        return Job(task.destination.path, "", task.required, None, task)

    backend: Backend | None = None
    for job in worker.jobs(prepare):
        error: TransferError | None = None
        parent = Parent(job.task)
        try:
            backend = backend or worker.lend(job.task.source.endpoint, 1)
            _list(worker, backend, parent)
        except Exception as raised:  # noqa: BLE001  a directory must be settled, whatever a listing holds
            error = translate(raised)
        if worker.release(job):
            worker.scheduler.listed(parent, error)


def _list(worker: Worker, backend: Backend, parent: Parent) -> None:
    task = parent.task
    if task.required.digest or task.required.also:
        text = "a checksum is that of a file, and the source is a directory"
        url = task.source.url if task.source is not None else ""
        raise BadSpecification(text, url=url, hint="give a manifest", side="source")
    quoted = worker.scheduler.pool.sample(task.destination.endpoint).abilities.quoted
    for child, error in members(backend, parent, quoted):
        if worker.control.stop is not None:
            raise worker.control.stop
        if error is None:
            worker.scheduler.add_member(child, parent, worker.control)
        else:
            worker.scheduler.add_failure(child, parent, error)


def members(
    backend: Backend, parent: Parent, quoted: bool
) -> Iterator[tuple[Operation, TransferError | None]]:
    """A transfer for each file below the parent's source; for its empty directories, a mkdir.

    With an entry that cannot be moved comes its error. Raises ``Corrupted`` when the manifest names a
    file that is not there.
    """
    task = parent.task
    operation = task.operation
    assert isinstance(operation, Transfer) and task.source is not None
    expected = read_manifest(operation.manifest)
    root, query = urls.folder(task.source)
    missing = set(expected)
    for entry in backend.list(root + query):
        source = task.source._replace(url=_sibling(task.source, entry.path), path=entry.path)
        try:
            name = relative(root, entry, backend.abilities.quoted, query)
        except TransferError as error:
            error.side = "source"
            whole = Transfer(id=operation.id, sources=(source,), destinations=(task.destination,))
            yield whole, error
            continue
        if entry.directory:
            yield Mkdir(id=operation.id, target=below(task.destination, name, quoted)), None
            continue
        missing.discard(name)
        if expected and name not in expected:
            parent.unlisted += 1
        target = below(task.destination, name, quoted)
        yield _member(operation, source, target, name, size=entry.size, expected=expected.get(name)), None
    if missing:
        count = f"{len(missing)} {plural(len(missing), 'file')}"
        text = f"{count} of the manifest not there, such as {min(missing)!r}"
        raise Corrupted(text, url=task.source.url)


def _member(
    operation: Transfer,
    source: Location,
    target: Location,
    name: str,
    *,
    size: int | None,
    expected: str | None,
) -> Transfer:
    return Transfer(
        id=operation.id,
        sources=(source,),
        destinations=(target,),
        lfn=f"{operation.lfn}/{name}" if operation.lfn else "",
        linkage=operation.linkage,
        checksum=Checksum("sha256", expected) if expected is not None else None,
        size=size,
        generate_checksum=operation.generate_checksum,
        verify_checksum_remote=operation.verify_checksum_remote,
    )


def read_manifest(path: str) -> dict[str, str]:
    """Name to sha256 (hex). Raises ``BadSpecification`` or ``NotFound``."""
    if not path:
        return {}
    try:
        return dict(manifest.read(path))
    except FileNotFoundError as error:
        raise NotFound("no such manifest", url=path) from error
    except (OSError, ValueError) as error:
        raise BadSpecification(f"cannot use the manifest: {error}", url=path) from error


def relative(root: str, entry: Entry, quoted: bool, query: str = "") -> str:
    """The name below ``root``, plain and without the ``query`` that follows each path. A server that names
    something outside of it is refused."""
    if not entry.path.startswith(root):
        raise BadSpecification("the server lists a file outside of the directory", url=entry.path)
    name = entry.path[len(root) :].removesuffix(query).rstrip("/")
    name = unquote(name) if quoted else name
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise BadSpecification("the server lists a name that leads elsewhere", url=entry.path)
    return name


def below(directory: Location, name: str, quoted: bool) -> Location:
    """The place of ``name`` under a directory's location."""
    tail = quote(name) if quoted else name
    top, query = urls.folder(directory)
    if directory.scheme in LOCAL:
        return directory._replace(url=urls.from_path(top + tail, directory.scheme), path=top + tail)
    head = directory.url.removesuffix(query).rstrip("/")
    return directory._replace(url=f"{head}/{tail}{query}", path=top + tail + query)


def _sibling(source: Location, path: str) -> str:
    if source.scheme in LOCAL:
        return urls.from_path(path, source.scheme)
    head, found, _ = source.url.rpartition(source.path)
    return head + path if found else path
