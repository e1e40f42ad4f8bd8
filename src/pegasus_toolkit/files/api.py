"""Copy, sync, verify and list files from Python, as ``pegasus-files`` does from a shell.

    import pegasus_toolkit as pt

    pt.copy("results/", "s3://bucket/2026/")
    pt.sync("sftp://host/data", "/scratch/data", delete=True, exclude=["*.tmp"])
    pt.verify("/scratch/data", "sftp://host/data")
    for file in pt.ls("s3://bucket/2026/", recursive=True):
        print(file.name, file.size)

A place is a path or a URL (``sftp://``, ``s3://``, ``davs://``, ``https://``, ``root://``, ``gsiftp://``,
...); credentials are found as the commands find them. What cannot be meant, is not there or does not answer
raises a ``TransferError`` before anything moves; files that failed raise ``TransfersFailed``, which has
their outcomes. Every function has an asynchronous form (``copy_async``, ...). Ctrl-C, and the cancellation
of a task, undo what is under way and leave nothing half-done.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from pegasus_toolkit.credentials import CredentialError, Credentials
from pegasus_toolkit.files import cache as digest_cache
from pegasus_toolkit.files import copying, filters, looking, syncing, verifying
from pegasus_toolkit.files.copying import Choice, Plan
from pegasus_toolkit.files.places import expanded, inside
from pegasus_toolkit.files.verifying import Difference, Verdict
from pegasus_toolkit.integrity.tree import LinkRule
from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.errors import BadSpecification, Denied
from pegasus_toolkit.transfer.interface import Settings
from pegasus_toolkit.transfer.model import Outcome, Transfer
from pegasus_toolkit.transfer.observer import Progress
from pegasus_toolkit.transfer.units import plural

T = TypeVar("T")
Place = str | os.PathLike[str]
"""A path on this machine, or a URL."""

_NUMBERS = (("threads", 1, int), ("attempts", 1, int), ("patience", 0, (int, float)), ("bandwidth", 0, int))
KEPT = 1000  # outcomes of failed files that an exception carries


class File(NamedTuple):
    """What stands at a place. ``name``: below the place that was listed; ``modified``: seconds since the
    epoch; ``size`` in bytes; ``None`` for what is not told."""

    name: str
    url: str
    size: int | None
    modified: float | None
    directory: bool = False


class Result(NamedTuple):
    """A copy or a sync that is over. ``files`` copied, and their ``bytes``; ``unchanged`` files were there
    already; ``removed`` what was extra; ``skipped``: what is no file, by name, and why; ``failed`` files,
    the first thousand; ``warnings``: a line each."""

    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    unchanged: int = 0
    removed: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    failed: tuple[Outcome, ...] = ()
    warnings: tuple[str, ...] = ()


class TransfersFailed(Exception):
    """Some files were not copied; all others were. ``result`` tells what was done; ``outcomes`` are those
    of the files that failed, each with its operation, its attempts and its ``error``. ``retryable``: the
    same call may succeed later."""

    def __init__(self, result: Result, exit_code: int) -> None:
        self.result = result
        self.outcomes = result.failed
        self.retryable = exit_code == 1
        count = len(result.failed)
        first = next(
            (str(one.error) for one in result.failed if one.error is not None), "the run was broken off"
        )
        super().__init__(f"{count} {plural(count, 'file')} failed, such as: {first}")


class VerificationFailed(Exception):
    """Not all files are the same. ``differences``: name, kind and detail of each; ``verdict``: all that was
    found."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.differences: tuple[Difference, ...] = tuple(verdict.differences)
        count = len(self.differences)
        name, kind, detail = self.differences[0]
        super().__init__(f"{count} {plural(count, 'difference')}, such as: {kind} {name}: {detail}")


class _Watch:
    """Tells the caller's functions, and remembers what a result has."""

    def __init__(
        self, progress: Callable[[Progress], object] | None, each: Callable[[Outcome], object] | None
    ) -> None:
        self.progress, self.each = progress, each
        self.files = self.bytes = self.removed = 0
        self.failed: list[Outcome] = []

    def settled(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.status == "done" and isinstance(outcome.operation, Transfer):
                self.files += 1
                self.bytes += outcome.size
            elif outcome.status == "done":
                self.removed += outcome.kind == "remove"
            elif len(self.failed) < KEPT:
                self.failed.append(outcome)
            if self.each is not None:
                self.each(outcome)

    def tick(self, progress: Progress) -> None:
        if self.progress is not None:
            self.progress(progress)


class _Stop:
    """Ends a call from another thread."""

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._pool: Pool | None = None
        self._reason = ""

    def aim(self, engine: Engine) -> None:
        self._engine = engine
        if self._reason:
            engine.cancel(self._reason)

    def __call__(self, reason: str) -> None:
        self._reason = reason
        if self._engine is not None:
            self._engine.cancel(reason)


_STOP: ContextVar[_Stop | None] = ContextVar("stop", default=None)
"""What ends the call that runs in this context."""


def copy(
    sources: Place | Iterable[Place],
    destination: Place,
    *,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    links: LinkRule = "inside",
    threads: int = 8,
    digest: Literal["sha256", "blake3", ""] = "sha256",
    bandwidth: int = 0,
    attempts: int = 3,
    patience: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    each: Callable[[Outcome], object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Copies files and directories, between any two protocols; each is verified before it is seen.

    ``sources``: a place or several; a wildcard may stand in the last part of each. ``destination``: a file
    goes into it where it is a directory or ends in "/", else that is its new name; so does a directory, and
    ``"directory/"`` means what is in it.

    ``include``, ``exclude``: rclone's patterns, one or several, for files of directories. ``links``:
    symbolic links in directories: "inside" follows those that stay in the directory, "follow" all, "skip"
    none, "copy" makes links. ``threads``: files under way at once. ``digest``: taken of every stream ("":
    none).
    ``bandwidth``: bytes a second over all files, 0 for no limit. ``attempts``: for each file; ``patience``:
    seconds to wait for a server that is away. ``progress`` is called about ten times a second, ``each`` for
    every file that is over, both from another thread. ``environ``: in place of ``os.environ``.

    Raises ``TransferError`` (``NotFound``, ``Denied``, ``BadSpecification``, ...) before anything moves;
    :class:`TransfersFailed` when files failed; ``KeyboardInterrupt`` after what was under way was undone.
    """
    names = [_text(one) for one in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    options = _options(
        attempts=attempts, concurrency=threads, algorithm=digest, patience=patience, bandwidth=bandwidth
    )
    choice = _choice(include, exclude, links)
    with _opened(environ, threads) as (pool, warnings):
        plan = copying.plan(names, _text(destination), pool, choice)
        watch = _Watch(progress, each)
        return _run(plan, pool, options, watch=watch, warnings=warnings)


def sync(
    source: Place,
    destination: Place,
    *,
    checksum: bool = False,
    delete: bool = False,
    cache: bool = True,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    links: LinkRule = "inside",
    threads: int = 8,
    digest: Literal["sha256", "blake3", ""] = "sha256",
    bandwidth: int = 0,
    attempts: int = 3,
    patience: float = 60.0,
    progress: Callable[[Progress], object] | None = None,
    each: Callable[[Outcome], object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Result:
    """Makes the directory ``destination`` what the directory ``source`` is: copies what is new or changed.

    Files with the same size and time are left alone; with ``checksum`` digests decide, of files on this
    machine from a cache unless ``cache`` is false. ``delete``: what is extra at the destination goes, after
    all else succeeded; never what a filter leaves out, and never if the source has no file. The rest is as
    for :func:`copy`.
    """
    options = _options(
        attempts=attempts,
        concurrency=threads,
        algorithm=digest,
        patience=patience,
        bandwidth=bandwidth,
        careful=True,
    )
    choice = _choice(include, exclude, links)
    with _opened(environ, threads) as (pool, warnings):
        path = digest_cache.usual_path(pool.settings.environ) if checksum and cache else ""
        with _cache(path, warnings) as known:
            how = syncing.Sync(checksum, delete, known)
            plan = syncing.plan(_text(source), _text(destination), pool, choice, how)
        watch = _Watch(progress, each)
        return _run(plan, pool, options, watch=watch, warnings=warnings)


def verify(
    first: Place = ".",
    second: Place | None = None,
    *,
    against: Place | None = None,
    one_way: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    links: LinkRule = "inside",
    threads: int = 8,
    environ: Mapping[str, str] | None = None,
) -> Verdict:
    """Compares files without copying them: sizes, then digests, the servers' own or of what is read.

    Two places, or one and ``against``: a manifest as ``sha256sum`` writes it; or ``against`` alone: the
    receipt of a workflow's run, or a report of ``pegasus-transfer``. ``one_way``: what is only in
    ``second``, or not in the manifest, is fine. Returns what was compared (``files``, ``by``). Raises
    :class:`VerificationFailed` where anything differs, is missing, extra or cannot be read;
    ``TransferError`` where a place is not there or does not answer.
    """
    choice = _choice(include, exclude, links)
    with _opened(environ, threads) as (pool, _):
        if against is None and second is None:
            raise TypeError("verify needs two places, or one and what it is to be verified against")
        if second is not None:
            verdict = verifying.places(_text(first), _text(second), pool, choice, one_way)
        elif verifying.is_receipt(_text(against or "")):
            verdict = verifying.against_receipt(_text(against or ""), pool)
        else:
            verdict = verifying.against_manifest(
                _text(against or ""), _text(first), pool, choice, one_way=one_way
            )
    if verdict.differences:
        raise VerificationFailed(verdict)
    return verdict


def ls(
    place: Place = ".",
    *,
    recursive: bool = False,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    links: LinkRule = "inside",
    environ: Mapping[str, str] | None = None,
) -> list[File]:
    """What is in a directory, or at any depth below it; of a file, itself. Wildcards are taken as in
    :func:`copy`.

    Raises ``TransferError`` (``NotFound``, ...).
    """
    choice = _choice(include, exclude, links)
    with _opened(environ, 1) as (pool, _):
        return [
            File(
                item.name,
                url,
                item.size,
                None if item.modified is None else item.modified / 1e9,
                item.directory,
            )
            for one in list(expanded(_text(place), pool))
            for item in looking.listed(one.place, pool, choice, recursive)
            for url in [urls.text(inside(one.place, item.name) if one.directory else one.place)]
        ]


async def copy_async(sources: Place | Iterable[Place], destination: Place, **options: Any) -> Result:
    """:func:`copy` for ``asyncio``: cancelling the task ends the run and undoes what is under way."""
    return await _awaited(lambda: copy(sources, destination, **options))


async def sync_async(source: Place, destination: Place, **options: Any) -> Result:
    """:func:`sync` for ``asyncio``: cancelling the task ends the run and undoes what is under way."""
    return await _awaited(lambda: sync(source, destination, **options))


async def verify_async(*places: Place, **options: Any) -> Verdict:
    """:func:`verify` for ``asyncio``."""
    return await asyncio.to_thread(partial(verify, *places, **options))


async def ls_async(place: Place = ".", **options: Any) -> list[File]:
    """:func:`ls` for ``asyncio``."""
    return await asyncio.to_thread(partial(ls, place, **options))


async def _awaited(call: Callable[[], T]) -> T:
    stop = _Stop()
    context = copy_context()
    context.run(_STOP.set, stop)
    running = asyncio.get_running_loop().run_in_executor(None, context.run, call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop("the task was cancelled")
        with suppress(Exception):
            await running
        raise


def _run(plan: Plan, pool: Pool, options: Options, *, watch: _Watch, warnings: list[str]) -> Result:
    """In a thread of its own, so that an interrupt finds this one waiting, and what is under way is
    undone."""
    engine = Engine(options, pool.settings, [watch], pool=pool)
    if (stop := _STOP.get()) is not None:
        stop.aim(engine)
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(engine.run(plan))
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits
            came.append(error)
        over.set()

    over = threading.Event()  # a join that is interrupted takes the thread for ended
    threading.Thread(target=run, name="pegasus-toolkit", daemon=True).start()
    try:
        over.wait()
    except BaseException:
        engine.cancel("interrupted")
        over.wait()
        raise
    summary = came[0]
    if isinstance(summary, BaseException):
        raise summary
    for name, why in copying.make_links(plan.links) if not summary.exit_code else ():
        warnings.append(f"{name}: the link could not be made: {why}")
    result = Result(
        watch.files,
        watch.bytes,
        summary.seconds,
        plan.unchanged,
        watch.removed,
        tuple(plan.skipped),
        tuple(watch.failed),
        tuple(warnings),
    )
    if summary.exit_code:
        raise TransfersFailed(result, summary.exit_code)
    return result


@contextmanager
def _opened(environ: Mapping[str, str] | None, threads: int) -> Iterator[tuple[Pool, list[str]]]:
    """What connections are made from, and the warnings that come up."""
    environ = dict(os.environ if environ is None else environ)
    warnings: list[str] = []
    try:
        credentials = Credentials.load(environ)
    except CredentialError as error:
        raise Denied(str(error)) from error
    settings = Settings(
        credentials=credentials, environ=environ, connections=max(1, threads), warn=warnings.append
    )
    with closing(Pool(settings, open_backend)) as pool:
        yield pool, warnings


@contextmanager
def _cache(path: str, warnings: list[str]) -> Iterator[digest_cache.Cache | None]:
    if not path:
        yield None
        return
    with closing(digest_cache.Cache(path, warnings.append)) as known:
        yield known


def _choice(include: Iterable[str], exclude: Iterable[str], links: LinkRule) -> Choice:
    given = [("exclude", one) for one in _patterns(exclude)]
    given += [("include", one) for one in _patterns(include)]
    if links not in get_args(LinkRule):
        raise BadSpecification(f"links is one of {', '.join(get_args(LinkRule))}, not {links!r}")
    return Choice(filters.read(given), links)


def _patterns(given: Iterable[str]) -> Iterable[str]:
    """One pattern may stand alone: its letters would be patterns, too, and ``*`` one that fits all."""
    return [given] if isinstance(given, str) else given


def _options(**given: Any) -> Options:
    """Raises ``BadSpecification`` for what is no such number or name, before anything moves."""
    if (digest := given["algorithm"]) not in ("sha256", "blake3", ""):
        raise BadSpecification(f'digest is "sha256", "blake3" or "", not {digest!r}')
    for name, least, kind in _NUMBERS:
        value = given["concurrency" if name == "threads" else name]
        if not isinstance(value, kind) or value < least:
            raise BadSpecification(f"{name} is a number, at least {least}, not {value!r}")
    return Options(**given)


def _text(place: Place) -> str:
    return os.fspath(place)
