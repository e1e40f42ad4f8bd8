"""The writing half of the conformance suite; see ``tests.conformance``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from pegasus_toolkit.transfer.errors import Corrupted, IsDirectory, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Backend, Job, Requirement, Source
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.conformance_read import BackendSuite
from tests.faults import Broken, Short, Unsized
from tests.material import (
    AWKWARD,
    SIZES,
    CallingSource,
    content,
    errors,
    fetch_job,
    given,
    in_thread,
    settle,
    sha256,
    store_job,
)


class WritableSuite(BackendSuite):
    """``put``, ``remove`` and ``mkdir``."""

    refuses_directory: ClassVar[type[TransferError]] = IsDirectory  # of a put where a directory stands

    def stored(self) -> set[str]:
        """Paths of all files in the area; override where the storage can be asked directly."""
        raise AssertionError("the subclass tells what its storage holds")

    def store(self, backend: Backend, name: str, data: bytes) -> None:
        (job,) = backend.put(iter([store_job(self.path(name), given(data))]))
        if job.error is not None:
            raise job.error

    @pytest.mark.parametrize("size", SIZES)
    def test_put_stores_what_is_given(self, backend: Backend, size: int) -> None:
        data = content(size)
        required = Requirement("sha256", sha256(data), size)
        job = store_job(self.path("file"), given(data, required), required)
        assert list(backend.put(iter([job]))) == [job]
        assert job.error is None
        assert self.read(self.path("file")) == data
        assert job.end.digest == sha256(data)
        assert self.stored() == {self.path("file")}

    @pytest.mark.parametrize("size", SIZES)
    def test_round_trip(self, backend: Backend, size: int) -> None:
        data = content(size)
        self.store(backend, "d/file", data)
        assert self.fetch(backend, "d/file", Requirement("sha256", sha256(data), size)) == data

    @pytest.mark.parametrize("size", SIZES)
    def test_put_of_unknown_size(self, backend: Backend, size: int) -> None:
        job = store_job(self.path("file"), Unsized(given(content(size))))
        assert errors(backend.put(iter([job]))) == [None]
        assert self.read(self.path("file")) == content(size)

    def test_put_keeps_the_time_of_the_last_change(self, backend: Backend) -> None:
        """Where the abilities say so: a sync believes it."""
        required = Requirement(modified=1_600_000_000_000_000_000)
        job = store_job(self.path("file"), given(b"content", required), required)
        assert errors(backend.put(iter([job]))) == [None]
        if backend.abilities.times:
            assert backend.stat(self.path("file")).modified == required.modified

    def test_put_makes_parents(self, backend: Backend) -> None:
        self.store(backend, "some/where/deep/file", b"data")
        assert self.read(self.path("some/where/deep/file")) == b"data"

    def test_put_replaces(self, backend: Backend) -> None:
        self.write(self.path("file"), content(3 * BLOCK))
        for data in (content(BLOCK), b"", b"short"):
            self.store(backend, "file", data)
            assert self.read(self.path("file")) == data

    def test_put_of_many_in_one_batch(self, backend: Backend) -> None:
        made = {self.path(f"d{n % 7}/file{n}"): content(100, n) for n in range(200)}
        over = list(backend.put(store_job(path, given(data)) for path, data in made.items()))
        assert errors(over) == [None] * 200
        assert {path: self.read(path) for path in made} == made
        assert self.stored() == set(made)

    def bad_sources(self, size: int) -> dict[str, Source]:
        """Each must keep ``size`` bytes from being published."""
        data = content(size)
        return {
            "short": Short(given(data), size // 2),
            "empty": Short(given(data), 0),
            "one short": Short(given(data), size - 1),
            "reset": Broken(given(data), size - 1),
            "reset at once": Broken(given(data), 0),
            "wrong digest": given(data, Requirement("sha256", sha256(b"other"), size)),
            "wrong size": given(data, Requirement("sha256", "", size + 1)),
            "wrong md5": given(data, Requirement("sha256", sha256(data), size, also=(("md5", "0" * 32),))),
            "wrong digest, no length": Unsized(given(data, Requirement("sha256", sha256(b"other"), size))),
            "reset, no length": Unsized(Broken(given(data), size - 1)),
        }

    @pytest.mark.parametrize("size", [1, 4096, BLOCK, 2 * BLOCK, 9 * BLOCK + 5])
    def test_bad_source_publishes_nothing(self, backend: Backend, size: int) -> None:
        bad = self.bad_sources(size)
        over = list(backend.put(store_job(self.path(f"d/{name}"), end) for name, end in bad.items()))
        assert len(over) == len(bad)
        assert [job.path for job in over if job.error is None] == []
        assert {type(job.error) for job in over} <= {Corrupted, ServerFault}
        assert self.stored() == set()

    @pytest.mark.parametrize("size", [1, BLOCK, 2 * BLOCK])
    def test_old_content_survives_failure(self, backend: Backend, size: int) -> None:
        bad = self.bad_sources(size)
        made = {self.path(f"d/{name}"): content(77, n) for n, name in enumerate(bad)}
        for path, data in made.items():
            self.write(path, data)
        over = list(backend.put(store_job(self.path(f"d/{name}"), end) for name, end in bad.items()))
        assert all(job.error is not None for job in over)
        assert {path: self.read(path) for path in made} == made
        assert self.stored() == set(made)

    def test_source_that_raises_fails_alone(self, backend: Backend) -> None:
        made = {self.path(f"file{n}"): content(2 * BLOCK, n) for n in range(10)}
        jobs = [store_job(path, given(data)) for path, data in made.items()]
        jobs[4] = store_job(jobs[4].path, Broken(given(b"x" * BLOCK), BLOCK - 1))
        over = list(backend.put(iter(jobs)))
        assert len(over) == 10
        assert [job.path for job in over if job.error is not None] == [jobs[4].path]
        assert isinstance(jobs[4].error, ServerFault)
        del made[jobs[4].path]
        assert {path: self.read(path) for path in made} == made
        assert self.stored() == set(made)

    def test_put_closed_in_mid_batch(self, backend: Backend) -> None:
        made = {self.path(f"file{n}"): content(2 * BLOCK, n) for n in range(20)}
        batch = backend.put(store_job(path, given(data)) for path, data in made.items())
        first = next(batch)
        assert first.error is None
        batch.close()  # type: ignore[attr-defined]
        for path in self.stored():
            assert self.read(path) == made[path]
        assert self.read(first.path) == made[first.path]
        self.store(backend, "file0", b"still works")
        assert self.read(self.path("file0")) == b"still works"

    def test_closing_from_another_thread_ends_a_put(self, backend: Backend) -> None:
        data = content(6 * BLOCK)
        job = store_job(self.path("file"), CallingSource(given(data), lambda: in_thread(backend.close)))
        try:
            over = list(backend.put(iter([job])))
        except TransferError:
            over = []
        done = bool(over) and job.error is None
        assert self.read(self.path("file")) == (data if done else None)
        assert self.stored() == ({self.path("file")} if done else set())

    def test_two_roles_on_one_endpoint(self, backend: Backend) -> None:
        """A relay within one endpoint: what one instance gets another puts, in turns."""
        made = self.make(20)
        other = self.open()

        def relayed() -> Iterator[Job[Source]]:
            for job in backend.get(map(fetch_job, made)):
                data = settle(job)
                assert data is not None
                yield store_job(self.path("copy/" + job.path.rpartition("/")[2]), given(data))

        assert errors(other.put(relayed())) == [None] * 20
        other.close()
        for path, data in made.items():
            assert self.read(self.path("copy/" + path.rpartition("/")[2])) == data

    def test_put_of_awkward_names(self, backend: Backend) -> None:
        names = [name for name in AWKWARD if name not in self.cannot_name]
        made = {self.path(f"d/{name}"): content(50, n) for n, name in enumerate(names)}
        over = list(backend.put(store_job(path, given(data)) for path, data in made.items()))
        assert {job.path: str(job.error) for job in over if job.error is not None} == {}
        assert {path: self.read(path) for path in made} == made
        assert self.stored() == set(made)
        assert [error for _, error in backend.remove(made)] == [None] * len(made)
        assert self.stored() == set()

    def test_awkward_directories(self, backend: Backend) -> None:
        """Made on the way, written into, removed with all that is in them."""
        names = [name for name in AWKWARD if name not in self.cannot_name]
        made = {self.path(f"d/{name}/file"): content(50, n) for n, name in enumerate(names)}
        over = list(backend.put(store_job(path, given(data)) for path, data in made.items()))
        assert {job.path: str(job.error) for job in over if job.error is not None} == {}
        assert {path: self.read(path) for path in made} == made
        gone = [self.path(f"d/{name}") for name in names]
        assert [error for _, error in backend.remove(gone, recursive=True)] == [None] * len(names)
        assert self.stored() == set()

    def test_deep_directories(self, backend: Backend) -> None:
        name = "/".join("d" for _ in range(40))
        self.store(backend, f"{name}/file", b"data")
        assert self.read(self.path(f"{name}/file")) == b"data"
        assert [error for _, error in backend.remove([self.path("d")], recursive=True)] == [None]
        assert self.stored() == set()

    def test_put_over_a_directory_is_refused(self, backend: Backend) -> None:
        """The name cannot be had: what stands there stays, and nothing stays beside it."""
        self.write(self.path("d/file"), b"x")
        jobs = [store_job(self.path(name), given(content(5000))) for name in ("before", "d", "after")]
        over = list(backend.put(iter(jobs)))
        refused = [job.path for job in over if job.error is not None]
        assert refused == ([self.path("d")] if backend.abilities.directories else [])
        others = {self.path(name) for name in ("before", "after", "d/file")}
        assert self.stored() - {self.path("d")} == others
        if refused:
            assert isinstance(jobs[1].error, self.refuses_directory)
            assert self.stored() == others

    def test_remove(self, backend: Backend) -> None:
        made = self.make(30)
        gone = list(made)[:20]
        assert sorted(backend.remove(iter(gone))) == sorted((path, None) for path in gone)
        assert self.stored() == set(list(made)[20:])

    def test_remove_of_what_is_missing(self, backend: Backend) -> None:
        self.make(1)
        paths = [self.path("missing"), self.path("file0"), self.path("no/such/directory")]
        assert dict(backend.remove(paths)) == dict.fromkeys(paths)
        assert dict(backend.remove(paths, recursive=True)) == dict.fromkeys(paths)
        assert self.stored() == set()

    def test_remove_recursive_takes_the_tree_and_no_more(self, backend: Backend) -> None:
        for name in ("d/a", "d/b/c", "d/b/d/e", "d2/f", "d-", "e/d/x"):
            self.write(self.path(name), b"x")
        assert list(backend.remove([self.path("d")], recursive=True)) == [(self.path("d"), None)]
        assert self.stored() == {self.path(name) for name in ("d2/f", "d-", "e/d/x")}

    def test_remove_recursive_of_a_file(self, backend: Backend) -> None:
        self.make(1)
        assert list(backend.remove([self.path("file0")], recursive=True)) == [(self.path("file0"), None)]
        assert self.stored() == set()

    def test_remove_of_a_directory_needs_recursive(self, backend: Backend) -> None:
        self.write(self.path("d/file"), b"x")
        ((path, error),) = backend.remove([self.path("d")])
        assert path == self.path("d")
        if backend.abilities.directories:
            assert isinstance(error, IsDirectory)
        assert self.stored() == {self.path("d/file")}

    def test_mkdir_again_and_again(self, backend: Backend) -> None:
        for _ in range(2):
            backend.mkdir(self.path("some/where/deep"))
        if backend.abilities.directories:
            assert backend.stat(self.path("some/where/deep")).directory
        self.store(backend, "some/where/deep/file", b"x")
        backend.mkdir(self.path("some/where/deep"))
        assert self.stored() == {self.path("some/where/deep/file")}


class LinkSuite(WritableSuite):
    """For storages with symbolic links."""

    def link(self, path: str, target: str) -> None:
        raise AssertionError(
            "the subclass makes the link at ``path`` to the path ``target``, without the backend"
        )

    def test_remove_recursive_leaves_what_links_lead_to(self, backend: Backend) -> None:
        for name in ("d/sub/file", "other/file", "alone"):
            self.write(self.path(name), b"x")
        self.link(self.path("d/sub/directory"), self.path("other"))
        self.link(self.path("d/link"), self.path("alone"))
        self.link(self.path("d/dangling"), self.path("missing"))
        self.link(self.path("d/sub/up"), self.path("d"))
        assert [error for _, error in backend.remove([self.path("d")], recursive=True)] == [None]
        assert self.stored() == {self.path("other/file"), self.path("alone")}

    def test_remove_of_a_link_leaves_what_it_leads_to(self, backend: Backend) -> None:
        self.write(self.path("other/file"), b"x")
        self.link(self.path("directory"), self.path("other"))
        self.link(self.path("link"), self.path("other/file"))
        gone = [self.path("directory"), self.path("link")]
        assert [error for _, error in backend.remove(gone, recursive=True)] == [None, None]
        assert self.stored() == {self.path("other/file")}
