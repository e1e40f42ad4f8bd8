"""A backend as a newcomer writes it, by ``docs/howto-add-a-protocol.md``: a directory, by calls that block.

Each of ``DEFECTS`` switches on one mistake that its author may make; the suite has to notice each.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.shared.blocking import BlockingBackend, BlockingFiles
from pegasus_toolkit.transfer.backends.shared.files import Found, Page, Sending, Stored, Traits
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.interface import Abilities, Backend, Endpoint, Job, Settings, Sink

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


class DirectoryFiles(BlockingFiles):
    """Files by their absolute paths."""

    def __init__(self, defect: str) -> None:
        super().__init__(Endpoint("new", "", ""), Settings(Credentials.none()), Traits())
        self.defect = defect
        self.follows = defect == "a removal follows links"

    def _name(self, path: str) -> str:
        return unquote(path) if self.defect == "names are decoded" else path

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        if self.defect == "written under its own name at once":
            name = sending.job.path
        file = yield self.call(name, partial(Path(self._name(name)).open, "wb"), "parent", "name")
        with file:
            while block := (yield lambda: sending.source.read(BLOCK)):
                sending.sent += len(block)
                yield self.call(name, partial(file.write, block))
        if self.defect != "a source that ends early is published":
            sending.require_whole(self.url(sending.job.path))
        return Stored((yield from self.stat(name)).size)

    def read(self, path: str, sink: Sink) -> Steps[None]:
        if self.defect == "missing counts as empty" and not Path(path).exists():
            return
        file = yield self.call(path, partial(Path(self._name(path)).open, "rb"))
        with file:
            if self.defect != "no size is announced":
                sink.announce(os.fstat(file.fileno()).st_size)
            while block := (yield self.call(path, partial(file.read, BLOCK))):
                sink.write(block)

    def stat(self, path: str) -> Steps[Found]:
        return (yield self.call(path, lambda: _found(Path(self._name(path)), follow=True)))

    def lstat(self, path: str) -> Steps[Found]:
        return (yield self.call(path, lambda: _found(Path(self._name(path)), self.follows)))

    def real(self, path: str) -> Steps[str]:
        return (yield lambda: os.path.realpath(path))

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        if self.defect == "written under its own name at once":
            return
        if self.defect == "what stands in the way of a rename goes first":
            yield lambda: shutil.rmtree(new, ignore_errors=True)
        yield self.call(new, lambda: Path(self._name(old)).replace(self._name(new)), "exists")

    def unlink(self, path: str) -> Steps[None]:
        if self.defect != "what stands aside is not removed" or not path.endswith(".part"):
            yield self.call(path, Path(self._name(path)).unlink, "directory")

    def make(self, path: str) -> Steps[bool]:
        def make() -> bool:
            try:
                Path(path).mkdir()
            except FileExistsError:
                return False
            return True

        if self.defect == "parents are not made":
            return True
        return (yield self.call(path, make))

    def rmdir(self, path: str) -> Steps[None]:
        yield self.call(path, Path(path).rmdir)

    def clear(self, path: str) -> Steps[bool]:
        if self.defect != "a removal takes what begins alike":
            return False
        for one in Path(path).parent.glob(f"{Path(path).name}*"):
            yield partial(shutil.rmtree, one)
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        if self.defect == "a directory that is not there counts as empty" and not Path(path).exists():
            return Page([])
        names = yield self.call(path, lambda: sorted(os.listdir(path)))
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


class NewBackend(BlockingBackend):
    """A directory, through a thread that blocks."""

    abilities = Abilities(in_flight=2)

    def __init__(self, defect: str = "") -> None:
        self.defect = defect
        super().__init__(DirectoryFiles(defect), calls=2)

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        if self.defect == "the batch is taken before it begins":
            jobs = iter(list(jobs))
        for job in super().get(jobs):
            if self.defect == "one error ends the batch" and job.error is not None:
                raise job.error
            yield job

    def close(self) -> None:
        if self.defect != "a close is not heeded":
            super().close()


_: type[Backend] = NewBackend
