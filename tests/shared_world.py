"""A storage in memory behind the primitives of ``backends/shared``: every request can be made to fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pegasus_toolkit.transfer.backends.shared.files import (
    CannotRename,
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    parent,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps, Task
from pegasus_toolkit.transfer.errors import Cancelled, Denied, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Sink


class Request(NamedTuple):
    """Asks the client to do something; ``name`` tells the tests which primitive it is of."""

    name: str
    call: Callable[[], Any]


class Wire:
    """A client that carries requests out in ``step``, in their order.

    ``fail_at``: the number of the request (from 1) at which something goes wrong: ``how`` is "refused"
    (it is not carried out), "lost" (it is, but the answer says that it was not), "broken" (the wire is gone,
    nor was it carried out) or "broken after" (it was carried out).
    """

    def __init__(self, width: int = 4, fail_at: int = 0, how: str = "refused") -> None:
        self.width = width
        self.fail_at = fail_at
        self.how = how
        self.count = 0
        self.names: list[str] = []
        self.under_way: deque[tuple[Request, Task]] = deque()
        self.broken: TransferError | None = None
        self.most = 0
        self.now = 0.0  # seconds; waiting takes no time

    def clock(self) -> float:
        return self.now

    @property
    def room(self) -> int:
        return self.width - len(self.under_way)

    @contextmanager
    def use(self) -> Iterator[None]:
        yield

    def start(self, request: Request, task: Task) -> None:
        self.under_way.append((request, task))
        self.most = max(self.most, len(self.under_way))

    def hurry(self, request: Request) -> None:
        pass

    def step(self, patience: float) -> None:
        if self.broken is not None:
            raise self.broken
        if not self.under_way:
            self.now += patience
            return
        request, task = self.under_way.popleft()
        self.count += 1
        self.names.append(request.name)
        failing = self.count == self.fail_at
        if failing and self.how.startswith("broken"):
            self.broken = Cancelled("closed")
            if self.how == "broken after":
                request.call()
            raise self.broken
        if failing and self.how == "refused":
            task.fail(ServerFault(f"request {self.count}"))
            return
        try:
            value = request.call()
        except TransferError as error:
            task.fail(error)
            return
        if failing:
            task.fail(ServerFault(f"the answer to request {self.count} was lost"))
        else:
            task.answer(value)


class MemoryFiles(PlainFiles):
    """A file system in a dictionary; ``None`` is a directory, a text a link to another name."""

    def __init__(self, tree: dict[str, bytes | str | None], **traits: Any) -> None:
        self.knows_replace = traits.pop("knows_replace", True)
        super().__init__(Traits(**traits))
        self.notes: list[tuple[str, str]] = []
        self.noted = lambda path, name: self.notes.append((path, name))
        self.tree = tree
        self.page = 3  # entries of one page
        self.refused_names: tuple[str, ...] = ()
        self.spoil = False  # what is stored is not what came
        self.short = False  # nor is it all

    def url(self, path: str) -> str:
        return f"mem:{path}"

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        goes_to = sending.job.path
        assert name == goes_to or (goes_to, name) in self.notes, "a kill from here on could leave it unknown"
        if any(part in name for part in self.refused_names):
            yield Request("open", lambda: None)
            raise perhaps(Denied("no such name", url=name), "name")
        if self.tree.get(parent(name), b"") is not None:
            yield Request("open", lambda: None)
            raise perhaps(NotFound("no directory", url=name), "parent")
        yield Request("open", lambda: self.tree.__setitem__(name, b""))
        content = b""
        while block := sending.source.read(4):
            content += block
            sending.sent += len(block)
            yield Request("write", lambda content=content: self._store(name, content))
        return Stored(len(content) - self.short)

    def _store(self, name: str, content: bytes) -> None:
        if self.spoil:
            content = b"?" + content[1:]
        self.tree[name] = content[:-1] if self.short else content

    def read(self, path: str, sink: Sink) -> Steps[None]:
        content = yield Request("read", lambda: self._get(path))
        sink.write(content)

    def _get(self, path: str) -> bytes:
        found = self.tree.get(path)
        if not isinstance(found, bytes):
            raise NotFound("no such file", url=path)
        return found

    def stat(self, path: str) -> Steps[Found]:
        return (yield Request("stat", lambda: self._stat(path)))

    def _stat(self, path: str) -> Found:
        if path not in self.tree:
            raise NotFound("nothing there", url=path)
        found = self.tree[path]
        if isinstance(found, str):
            return self._stat(found)
        return Found("", found is None, None if found is None else len(found))

    def lstat(self, path: str) -> Steps[Found]:
        return (yield Request("lstat", lambda: self._lstat(path)))

    def _lstat(self, path: str) -> Found:
        return Found("", None) if isinstance(self.tree.get(path), str) else self._stat(path)

    def real(self, path: str) -> Steps[str]:
        return (yield Request("real", lambda: self._real(path)))

    def _real(self, path: str) -> str:
        if not path:
            return "/"
        found = self.tree.get(path)
        return (
            found
            if isinstance(found, str)
            else f"{self._real(parent(path)).rstrip('/')}{path[len(parent(path)) :]}"
        )

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        yield Request(f"rename{'-over' * replace}", lambda: self._rename(old, new, replace))

    def _rename(self, old: str, new: str, replace: bool) -> None:
        if replace and not self.knows_replace:
            raise CannotRename("no rename over another file")
        if old not in self.tree:
            raise NotFound("nothing to rename", url=old)
        if new in self.tree and (self.tree[new] is None or not replace):
            raise perhaps(Denied("something stands there", url=new), "exists")
        self.tree[new] = self.tree.pop(old)

    def unlink(self, path: str) -> Steps[None]:
        yield Request("unlink", lambda: self._unlink(path))

    def _unlink(self, path: str) -> None:
        if path not in self.tree:
            raise NotFound("nothing there", url=path)
        if self.tree[path] is None:
            raise perhaps(Denied("a directory", url=path), "directory")
        del self.tree[path]

    def make(self, path: str) -> Steps[bool]:
        return (yield Request("make", lambda: self._make(path)))

    def _make(self, path: str) -> bool:
        if path in self.tree:
            return False
        if parent(path) and self.tree.get(parent(path), b"") is not None:
            raise NotFound("no parent", url=path)
        self.tree[path] = None
        return True

    def rmdir(self, path: str) -> Steps[None]:
        yield Request("rmdir", lambda: self._rmdir(path))

    def _rmdir(self, path: str) -> None:
        if path not in self.tree:
            raise NotFound("nothing there", url=path)
        if any(name.startswith(f"{path}/") for name in self.tree):
            raise ServerFault("not empty", url=path)
        del self.tree[path]

    def scan(self, path: str, more: Any) -> Steps[Page]:
        return (yield Request("scan", lambda: self._scan(path, more or 0)))

    def _scan(self, path: str, at: int) -> Page:
        if self.tree.get(self._real(path), b"") is not None:
            raise NotFound("no such directory", url=path)
        path = self._real(path)
        inside = sorted(name for name in self.tree if parent(name) == path and name != path)
        found = []
        for name in inside[at : at + self.page]:
            what = self.tree[name]
            kind = None if isinstance(what, str) else what is None
            found.append(Found(name.rpartition("/")[2], kind, len(what) if isinstance(what, bytes) else None))
        return Page(found, at + self.page if at + self.page < len(inside) else None)


def runner(wire: Wire) -> Runner:
    """With another wire for the clean-up."""

    def renew() -> Wire:
        other = Wire()
        other.step = lambda patience: _step(wire, other, patience)  # type: ignore[method-assign]
        return other

    return Runner(wire, renew, wire.clock)


def _step(clock: Wire, wire: Wire, patience: float) -> None:
    if wire.under_way:
        Wire.step(wire, patience)
    else:
        clock.now += patience
