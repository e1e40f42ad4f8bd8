"""Globus' tasks: many files in each, followed to their ends, cancelled when we are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import globus_sdk
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from pegasus_toolkit.transfer.backends.globus.errors import NOTHING_LEFT, hopeless, of_task
from pegasus_toolkit.transfer.backends.globus.site import Place, Service
from pegasus_toolkit.transfer.backends.shared.blocking import Calls
from pegasus_toolkit.transfer.backends.shared.files import perhaps
from pegasus_toolkit.transfer.backends.shared.runner import Task
from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Corrupted,
    IsDirectory,
    ServerFault,
    TimedOut,
    TransferError,
)
from pegasus_toolkit.transfer.notes import Notes

LOOKS = wait_exponential(multiplier=0.05, max=10)  # seconds between two looks at a task
DEADLINE = 24 * 3600.0  # seconds that a task may take
TROUBLED = 900.0  # seconds that it may go on without a byte after an error that may pass
STEP = 0.2  # seconds within which a run that is to stop is noticed
ALGORITHMS = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256", "sha512": "SHA512"}  # that Globus compares
BACK = {"ACTIVE", "SUCCEEDED"}  # a task that was found again and is of use

Check = Callable[[int], None]


class Move:
    """A request: one file from a collection to another (or the same). The answer: its size in bytes.

    ``digest``: (algorithm, hex) that Globus is to compare. ``check`` is told bytes that moved, of the whole
    task; it raises once the run is to stop. ``fact`` is what the journal keeps the submission under, and
    ``submission`` what it has kept, "" for nothing.
    """

    __slots__ = ("check", "destination", "digest", "fact", "source", "submission")

    def __init__(
        self,
        source: Place,
        destination: Place,
        check: Check,
        *,
        digest: tuple[str, str] | None = None,
        fact: tuple[str, ...] = (),
        submission: str = "",
    ) -> None:
        self.source, self.destination, self.digest = source, destination, digest
        self.check, self.fact, self.submission = check, fact, submission

    @property
    def kind(self) -> tuple[str, ...]:
        """Moves of one kind fit into one task."""
        return "move", self.source.collection, self.destination.collection, self.submission

    @property
    def folder(self) -> str:
        """Where it goes."""
        return self.destination.path.rpartition("/")[0]


class Delete:
    """A request: a file, or with ``recursive`` all that is below; what is not there is no error."""

    __slots__ = ("check", "place", "recursive")

    def __init__(self, place: Place, recursive: bool) -> None:
        self.place, self.recursive = place, recursive
        self.check: Check = lambda moved: None

    @property
    def kind(self) -> tuple[str, ...]:
        """Removals of one kind fit into one task."""
        return "delete", self.place.collection, str(self.recursive)

    @property
    def folder(self) -> str:
        """Where it stands."""
        return self.place.path.rpartition("/")[0]


Wish = Move | Delete
Found = dict[Wish, "int | TransferError"]


class Batches(Calls):
    """``Calls`` that gathers moves and removals until nothing else can go on, and makes them one task."""

    def __init__(self, threads: int, service: Service, notes: Notes, once: bool = False) -> None:
        super().__init__(threads, once=once)
        self._service = service
        self._notes = notes
        self._gathered: dict[tuple[str, ...], dict[Wish, Task]] = {}
        self._open = 0  # plain calls under way
        self._work_done: list[Worker] = []

    def start(self, request: Any, task: Task) -> None:
        """A move waits for others."""
        if isinstance(request, (Move, Delete)):
            self._gathered.setdefault(request.kind, {})[request] = task
        else:
            self._open += 1
            super().start(request, _Counted(self, task))  # type: ignore[arg-type]

    def step(self, patience: float) -> None:
        """Plain calls come first: stories that wait for them may have more to move."""
        if not self._open:
            for wishes in self._gathered.values():
                worker = Worker(self._service, self._notes, list(wishes))
                self._work_done.append(worker)
                super().start(worker.run, _Together(self, worker, wishes))  # type: ignore[arg-type]
            self._gathered.clear()
        super().step(patience)

    def hurry(self, request: Any) -> None:
        """A task whose stories were all told to stop is cancelled."""
        for worker in self._work_done:
            worker.hurry(request)

    def over(self, worker: Worker | None = None) -> None:
        """A call, or the worker's, is over."""
        if worker is None:
            self._open -= 1
        else:
            self._work_done.remove(worker)


class _Counted:
    """A plain call's story."""

    def __init__(self, batches: Batches, task: Task) -> None:
        self.batches, self.task = batches, task

    def answer(self, value: Any) -> None:
        self.batches.over()
        self.task.answer(value)

    def fail(self, error: TransferError) -> None:
        self.batches.over()
        self.task.fail(error)


class _Together:
    """The stories whose files are in one task."""

    def __init__(self, batches: Batches, worker: Worker, wishes: dict[Wish, Task]) -> None:
        self.batches, self.worker, self.wishes = batches, worker, wishes

    def answer(self, found: Found) -> None:
        self.batches.over(self.worker)
        for wish, task in self.wishes.items():
            told = found[wish]
            if isinstance(told, TransferError):
                task.fail(told)
            else:
                task.answer(told)

    def fail(self, error: TransferError) -> None:
        self.answer(dict.fromkeys(self.wishes, error))


class Worker:
    """Carries out what was gathered, in a thread of its own."""

    def __init__(self, service: Service, notes: Notes, wishes: list[Wish]) -> None:
        self.service = service
        self.notes = notes
        self.wishes = wishes
        self.collection = wishes[0].kind[-2] if isinstance(wishes[0], Move) else wishes[0].kind[1]
        self._unwanted: set[Wish] = set()
        self._bytes = 0
        self._faults = 0
        self._moved_at = time.monotonic()

    def hurry(self, wish: Wish) -> None:
        """From another thread: nobody waits for that one any more."""
        self._unwanted.add(wish)

    def run(self) -> Found:
        """What became of each. One that fails for good takes others along only where nobody can tell them
        apart: they are tried again in smaller parts."""
        found: Found = {}
        waiting = [self.wishes]
        while waiting:
            some = waiting.pop()
            try:
                found.update(self._task(some))
            except TransferError as error:
                parts = [] if isinstance(error, Cancelled) else split(some, error)
                waiting += parts
                found.update({} if parts else dict.fromkeys(some, error))
        return found

    def _ask(self, work: Callable[[globus_sdk.TransferClient], Any]) -> Any:
        return self.service.ask("", self.collection, work)

    def _task(self, wishes: list[Wish]) -> Found:
        self._check()
        self._bytes = self._faults = 0
        self._moved_at = time.monotonic()
        task = self._submit(wishes)
        try:
            Retrying(
                retry=retry_if_result(lambda over: not over),
                wait=LOOKS,
                stop=stop_after_delay(DEADLINE),
                sleep=self._sleep,
                retry_error_callback=lambda _: self._late(),
            )(partial(self._look, task))
        except TransferError as error:
            if isinstance(wishes[0], Delete) and isinstance(error, Cancelled):
                raise  # what is to go may go
            if self._cancel(task) and not error.perhaps:
                perhaps(error, NOTHING_LEFT)
            for wish in wishes:
                self._keep("", wish)
            raise
        if isinstance(wishes[0], Delete):
            return dict.fromkeys(wishes, 0)
        return self._moved(task, [wish for wish in wishes if isinstance(wish, Move)])

    def _late(self) -> None:
        raise TimedOut(f"Globus was not done in {DEADLINE / 3600:.0f} hours", host=self.collection)

    # -- begin and end -----------------------------------------------------------------------------

    def _submit(self, wishes: list[Wish]) -> str:
        """The task's name. One that an earlier run has begun is found again by its submission."""
        first = wishes[0]
        submission = first.submission if isinstance(first, Move) else ""
        if submission:
            answer = self._send(wishes, submission)
            task = str(answer["task_id"])
            if answer["code"] != "Duplicate":
                return task
            if self._ask(lambda client: client.get_task(task))["status"] in BACK:
                return task
        submission = str(self._ask(lambda client: client.get_submission_id())["value"])
        for wish in wishes:
            self._keep(submission, wish)  # before there is anything that a killed run could lose
        return str(self._send(wishes, submission)["task_id"])

    def _keep(self, submission: str, wish: Wish) -> None:
        if isinstance(wish, Move) and wish.fact and (submission or self.notes.kept(*wish.fact)):
            name = wish.destination.path
            self.notes.keep(f"{submission} {name}" if submission else "", *wish.fact)

    def _send(self, wishes: list[Wish], submission: str) -> Any:
        first = wishes[0]
        if isinstance(first, Delete):
            removal = globus_sdk.DeleteData(
                first.place.collection, submission_id=submission, recursive=first.recursive,
                ignore_missing=True, label="pegasus-transfer", **QUIET,
            )  # fmt: skip
            for one in wishes:
                assert isinstance(one, Delete)
                removal.add_item(one.place.path)
            return self._ask(lambda client: client.submit_delete(removal))
        transfer = globus_sdk.TransferData(
            first.source.collection, first.destination.collection, submission_id=submission,
            verify_checksum=True, skip_source_errors=True, fail_on_quota_errors=True,
            label="pegasus-transfer", **QUIET,
        )  # fmt: skip
        for move in wishes:
            assert isinstance(move, Move)
            extra: dict[str, Any] = {}
            if move.digest is not None:
                extra = {
                    "checksum_algorithm": ALGORITHMS[move.digest[0]],
                    "external_checksum": move.digest[1],
                }
            transfer.add_item(move.source.path, move.destination.path, **extra)
        return self._ask(lambda client: client.submit_transfer(transfer))

    def _cancel(self, task: str) -> bool:
        """At once, since the run may be about to end; whether nothing of it goes on."""
        with suppress(globus_sdk.GlobusError, TransferError):  # it is over, or its deadline ends it
            return bool(self.service.client.cancel_task(task)["code"] in ("Canceled", "TaskComplete"))
        return False

    # -- under way -----------------------------------------------------------------------------------

    def _sleep(self, seconds: float) -> None:
        while seconds > 0:
            self._check()
            self.service.sleep(min(seconds, STEP))
            seconds -= STEP

    def _check(self, moved: int = 0) -> None:
        """Raises once nobody waits for it."""
        if self.service.closed.is_set() or self._unwanted.issuperset(self.wishes):
            raise Cancelled("the batch was given up")
        self.wishes[0].check(moved)

    def _look(self, task: str) -> bool:
        """Whether it is over. Raises where it failed, or will."""
        told = self._ask(lambda client: client.get_task(task))
        status, moved = told["status"], int(told.get("bytes_transferred") or 0)
        if moved > self._bytes:
            self._moved_at = time.monotonic()
        self._check(max(0, moved - self._bytes))
        self._bytes = max(moved, self._bytes)
        if status == "SUCCEEDED":
            return True
        nice = str(told.get("nice_status") or "")
        words = str(told.get("nice_status_details") or told.get("nice_status_short_description") or "")
        if status == "FAILED":
            fatal = told.get("fatal_error") or {}
            raise self._failed(
                str(fatal.get("code") or nice or "FAILED"), str(fatal.get("description") or words)
            )
        if told.get("is_paused"):
            raise self._failed("PAUSED", self._why_paused(task))
        if hopeless(nice):
            raise self._failed(nice, words)
        if status == "INACTIVE":
            raise self._failed("EXPIRED", words or "the task is inactive: its credentials are over")
        if (faults := int(told.get("faults") or 0)) > self._faults:
            self._faults = faults
            self._look_at_events(task)
        elif faults and time.monotonic() - self._moved_at > TROUBLED:
            raise self._failed(nice or "faults", words or f"{faults} faults, and nothing moves")
        return False

    def _look_at_events(self, task: str) -> None:
        for event in self._ask(lambda client: client.task_event_list(task, limit=100)):
            code = str(event.get("code") or "")
            if event.get("is_error") and hopeless(code):
                raise self._failed(code, str(event.get("details") or event.get("description") or ""))

    def _why_paused(self, task: str) -> str:
        info = self._ask(lambda client: client.task_pause_info(task))
        rules = info.get("pause_rules") or []
        told = [str(rule.get("message") or "") for rule in rules]
        told += [str(info.get(key) or "") for key in ("source_pause_message", "destination_pause_message")]
        return "; ".join(text for text in told if text)

    def _failed(self, code: str, words: str) -> TransferError:
        return of_task(code, words, url="", collection=self.collection)

    def _moved(self, task: str, moves: list[Move]) -> Found:
        """How large each is where it was sent to; what Globus left out, with its reason."""
        sizes: dict[str, int] = {}
        for folder in dict.fromkeys(move.folder for move in moves):
            sizes.update(self._sizes(folder, moves))
        skipped: dict[str, TransferError] = {}
        if any(move.destination.path not in sizes for move in moves):
            for one in pages(self._ask, lambda client: client.paginated.task_skipped_errors(task)):
                code, words = str(one.get("error_code") or ""), str(one.get("error_details") or "")
                error = of_task(code, words, url="", collection=moves[0].source.collection)
                error.side = "source"
                skipped[str(one.get("destination_path"))] = error
        found: Found = {}
        for move in moves:
            path = move.destination.path
            missing = perhaps(ServerFault("Globus says that it is done, but it is not there"), NOTHING_LEFT)
            found[move] = sizes[path] if path in sizes else skipped.get(path, missing)
            if path not in sizes:
                self._keep("", move)
        return found

    def _sizes(self, folder: str, moves: list[Move]) -> dict[str, int]:
        """One request a directory, however many files went there."""
        there = moves[0].destination.collection
        names = [move.destination.path.rpartition("/")[2] for move in moves if move.folder == folder]
        if len(names) == 1:
            path = f"{folder}/{names[0]}"
            try:
                told = self._ask(lambda client: client.operation_stat(there, path))
            except TransferError as error:
                if error.retryable:
                    raise
                return {}
            return {path: int(told["size"])}
        wanted, found = set(names), {}
        for one in listed(self._ask, there, folder or "/"):
            if one["name"] in wanted and one["type"] == "file":
                found[f"{folder}/{one['name']}"] = int(one["size"])
        return found


QUIET: dict[str, Any] = {"notify_on_succeeded": False, "notify_on_failed": False, "notify_on_inactive": False}
PAGE = 10_000  # entries of a listing, asked for at once


def listed(ask: Callable[[Any], Any], collection: str, path: str) -> Iterable[Any]:
    """The entries of one directory."""
    offset = 0
    while True:
        look = partial(_page, collection=collection, path=path, offset=offset)
        page = list(ask(look))
        yield from page
        if len(page) < PAGE:
            return
        offset += len(page)


def _page(client: globus_sdk.TransferClient, collection: str, path: str, offset: int) -> Any:
    return client.operation_ls(collection, path, limit=PAGE, offset=offset)


def pages(ask: Callable[[Any], Any], pager: Callable[[Any], Any]) -> list[Any]:
    """All items of all pages."""
    found: list[Any] = ask(lambda client: list(pager(client).items()))
    return found


def split(wishes: list[Wish], error: TransferError) -> list[list[Wish]]:
    """What failed in smaller parts, where one of them may be to blame: by directory, then by halves."""
    folders: dict[str, list[Wish]] = {}
    for wish in wishes:
        folders.setdefault(wish.folder, []).append(wish)
    if error.retryable and not isinstance(error, Corrupted):
        return []
    if len(folders) > 1:
        return list(folders.values())
    if len(wishes) > 1 and isinstance(error, (Corrupted, IsDirectory)):
        half = len(wishes) // 2
        return [wishes[:half], wishes[half:]]
    return []
