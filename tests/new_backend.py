"""A backend as a newcomer writes it, by ``docs/howto-add-a-protocol.md``: a directory, by calls that block.

Each of ``DEFECTS`` switches on one mistake that its author may make; the suite has to notice each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pegasus_toolkit.transfer.backends.shared.backend import Calls, FilesBackend
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Runner, Steps
from pegasus_toolkit.transfer.errors import TransferError, from_oserror
from pegasus_toolkit.transfer.interface import Abilities, Backend, Job, Sink

BLOCK = 1 << 16
PAGE = 1000  # entries of one page of a listing

# The mistake, and which test of the suite (with its arguments) notices it.
DEFECTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "a source that ends early is published": ("bad_source_publishes_nothing", (4096,)),
    "what stands aside is not removed": ("bad_source_publishes_nothing", (4096,)),
    "written under its own name at once": ("old_content_survives_failure", (1,)),
    "parents are not made": ("put_makes_parents", ()),
    "what stands in the way of a rename goes first": ("put_over_a_directory_is_refused", ()),
    "no size is announced": ("size_is_announced_before_the_first_byte", ()),
    "missing counts as empty": ("missing_raises_not_found", ()),
    "one error ends the batch": ("missing_among_many_fails_alone", ()),
    "the batch is taken before it begins": ("batch_is_pulled_while_it_runs", ()),
    "names are decoded": ("awkward_names", ()),
    "the first page of a listing counts as all": ("list_of_many", ()),
    "a directory that is not there counts as empty": ("list_of_nothing_raises_not_found", ()),
    "a removal follows links": ("remove_recursive_leaves_what_links_lead_to", ()),
    "a removal takes what begins alike": ("remove_recursive_takes_the_tree_and_no_more", ()),
    "a close is not heeded": ("closing_from_another_thread_ends_a_get", ()),
}


class DirectoryFiles(PlainFiles):
    """Files by their absolute paths."""

    def __init__(self, defect: str) -> None:
        super().__init__(Traits())
        self.defect = defect
        self.follows = defect == "a removal follows links"

    def url(self, path: str) -> str:
        return f"new:{path}"

    def _call(self, path: str, action: Callable[[], Any], *why: str) -> Callable[[], Any]:
        def call() -> Any:
            try:
                return action()
            except OSError as error:
                if self.defect == "one error ends the batch":
                    raise
                raise perhaps(from_oserror(error, url=self.url(path)), *why) from error

        return call

    def _name(self, path: str) -> str:
        return unquote(path) if self.defect == "names are decoded" else path

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        if self.defect == "written under its own name at once":
            name = sending.job.path
        file = yield self._call(name, partial(Path(self._name(name)).open, "wb"), "parent", "name")
        with file:
            while block := (yield lambda: sending.source.read(BLOCK)):
                sending.sent += len(block)
                yield self._call(name, partial(file.write, block))
        if self.defect != "a source that ends early is published":
            sending.require_whole(self.url(sending.job.path))
        return Stored((yield from self.stat(name)).size)

    def read(self, path: str, sink: Sink) -> Steps[None]:
        if self.defect == "missing counts as empty" and not Path(path).exists():
            return
        file = yield self._call(path, partial(Path(self._name(path)).open, "rb"))
        with file:
            if self.defect != "no size is announced":
                sink.announce(os.fstat(file.fileno()).st_size)
            while block := (yield self._call(path, partial(file.read, BLOCK))):
                sink.write(block)

    def stat(self, path: str) -> Steps[Found]:
        return (yield self._call(path, lambda: _found(Path(self._name(path)), follow=True)))

    def lstat(self, path: str) -> Steps[Found]:
        return (yield self._call(path, lambda: _found(Path(self._name(path)), self.follows)))

    def real(self, path: str) -> Steps[str]:
        return (yield lambda: os.path.realpath(path))

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        if self.defect == "written under its own name at once":
            return
        if self.defect == "what stands in the way of a rename goes first":
            yield lambda: shutil.rmtree(new, ignore_errors=True)
        yield self._call(new, lambda: Path(self._name(old)).replace(self._name(new)), "exists")

    def unlink(self, path: str) -> Steps[None]:
        if self.defect != "what stands aside is not removed" or not path.endswith(".part"):
            yield self._call(path, Path(self._name(path)).unlink, "directory")

    def make(self, path: str) -> Steps[bool]:
        def make() -> bool:
            try:
                Path(path).mkdir()
            except FileExistsError:
                return False
            return True

        if self.defect == "parents are not made":
            return True
        return (yield self._call(path, make))

    def rmdir(self, path: str) -> Steps[None]:
        yield self._call(path, Path(path).rmdir)

    def clear(self, path: str) -> Steps[bool]:
        if self.defect != "a removal takes what begins alike":
            return False
        for one in Path(path).parent.glob(f"{Path(path).name}*"):
            yield partial(shutil.rmtree, one)
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        if self.defect == "a directory that is not there counts as empty" and not Path(path).exists():
            return Page([])
        names = yield self._call(path, lambda: sorted(os.listdir(path)))
        first = more or 0
        page = names[first : first + PAGE]
        found = [_found(Path(path, name), self.follows)._replace(name=name) for name in page]
        whole = first + PAGE >= len(names) or self.defect == "the first page of a listing counts as all"
        return Page(found, None if whole else first + PAGE)


def _found(path: Path, follow: bool) -> Found:
    if not follow and path.is_symlink():
        return Found("", None, link=True)
    told = path.stat(follow_symlinks=path.exists())
    return Found("", path.is_dir(), told.st_size)


class NewBackend(FilesBackend):
    """A directory, through a thread that blocks."""

    abilities = Abilities(in_flight=2)

    def __init__(self, defect: str = "") -> None:
        self.files = DirectoryFiles(defect)
        self.calls = Calls(2)

    def runner(self, side: bool = False) -> Runner:
        return Runner(self.calls, lambda: Calls(1, once=True))

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        if self.files.defect == "the batch is taken before it begins":
            jobs = iter(list(jobs))
        return super().get(jobs)

    def close(self) -> None:
        if self.files.defect != "a close is not heeded":
            self.calls.close()


_: tuple[type[Backend], type[TransferError]] = (NewBackend, TransferError)
