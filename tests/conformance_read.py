"""The reading half of the conformance suite; see ``tests.conformance``."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar

import pytest

from pegasus_toolkit.transfer.errors import Corrupted, NotFound, ServerFault, TransferError
from pegasus_toolkit.transfer.interface import Backend, Entry, InspectsMany, Job, Requirement, Scans, Sink
from pegasus_toolkit.transfer.streams.checked import BLOCK
from tests.material import (
    AWKWARD,
    SIZES,
    Calling,
    Failing,
    Told,
    content,
    errors,
    fetch_job,
    in_thread,
    kept,
    settle,
    sha256,
)


class BackendSuite:
    """What every backend must do: read."""

    cannot_name: ClassVar[frozenset[str]] = frozenset()  # of AWKWARD, what the protocol cannot carry

    def open(self) -> Backend:
        raise AssertionError("the subclass opens its backend")

    def path(self, name: str) -> str:
        raise AssertionError("the subclass maps names to paths")

    def read(self, path: str) -> bytes | None:
        raise AssertionError("the subclass reads its storage")

    def write(self, path: str, content: bytes) -> None:
        raise AssertionError("the subclass writes to its storage")

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        backend = self.open()
        yield backend
        backend.close()

    def fetch(self, backend: Backend, name: str, required: Requirement | None = None) -> bytes:
        """Gets one file as the engine would; raises the job's error."""
        (job,) = backend.get(iter([fetch_job(self.path(name), required=required)]))
        if job.error is not None:
            raise job.error
        found = settle(job)
        assert found is not None
        return found

    def make(self, count: int, size: int = 100) -> dict[str, bytes]:
        """Writes files to the storage: path -> content."""
        made = {self.path(f"file{n}"): content(size, n) for n in range(count)}
        for path, data in made.items():
            self.write(path, data)
        return made

    def test_size_is_announced_before_the_first_byte(self, backend: Backend) -> None:
        """So a wrong file, or a disk that is too small, costs no download."""
        made = self.make(3, 2 * BLOCK)
        jobs = [fetch_job(path, Told()) for path in made]
        assert errors(backend.get(iter(jobs))) == [None] * 3
        assert [job.end.told[:1] for job in jobs if isinstance(job.end, Told)] == [[(2 * BLOCK, 0)]] * 3

    @pytest.mark.parametrize("size", SIZES)
    def test_get_gives_what_is_stored(self, backend: Backend, size: int) -> None:
        data = content(size)
        self.write(self.path("file"), data)
        job = fetch_job(self.path("file"), required=Requirement("sha256", sha256(data), size))
        assert list(backend.get(iter([job]))) == [job]
        assert job.error is None
        assert settle(job) == data
        assert job.end.size == size

    def test_get_without_digest(self, backend: Backend) -> None:
        self.write(self.path("file"), content(5000))
        assert self.fetch(backend, "file", Requirement("")) == content(5000)

    def test_missing_raises_not_found(self, backend: Backend) -> None:
        (job,) = backend.get(iter([fetch_job(self.path("missing"))]))
        assert isinstance(job.error, NotFound)
        assert "missing" in str(job.error)
        with pytest.raises(NotFound):
            backend.stat(self.path("missing"))
        with pytest.raises(NotFound):
            backend.stat(self.path("no/such/directory"))

    def test_stat_tells_the_size(self, backend: Backend) -> None:
        self.write(self.path("d/file"), content(1234))
        self.write(self.path("d/empty"), b"")
        found = backend.stat(self.path("d/file"))
        assert (found.size, found.directory) == (1234, False)
        assert backend.stat(self.path("d/empty")).size == 0

    @pytest.mark.parametrize("size", [1, 4096, BLOCK, 2 * BLOCK])
    def test_get_with_wrong_digest_commits_nothing(self, backend: Backend, size: int) -> None:
        self.write(self.path("file"), content(size))
        required = Requirement("sha256", sha256(b"other"), size)
        sink = kept(required)
        (job,) = backend.get(iter([fetch_job(self.path("file"), sink, required)]))
        assert job.error is None
        with pytest.raises(Corrupted):
            sink.commit()
        assert sink.content is None

    @pytest.mark.parametrize("expected", [0, 4095, 4097, 1 << 30])
    def test_get_of_wrong_size_fails(self, backend: Backend, expected: int) -> None:
        self.write(self.path("file"), content(4096))
        with pytest.raises(Corrupted):
            self.fetch(backend, "file", Requirement("sha256", "", expected))

    def test_many_in_one_batch(self, backend: Backend) -> None:
        made = self.make(200)
        jobs = [fetch_job(path) for path in made]
        done = {job.path: settle(job) for job in backend.get(iter(jobs))}
        assert done == made

    def test_mixed_sizes_in_one_batch(self, backend: Backend) -> None:
        made = {self.path(f"f{n}"): content(size, n) for n, size in enumerate(SIZES)}
        for path, data in made.items():
            self.write(path, data)
        assert {job.path: settle(job) for job in backend.get(map(fetch_job, made))} == made

    def test_missing_among_many_fails_alone(self, backend: Backend) -> None:
        made = self.make(20)
        paths = [*made, self.path("missing")]
        random.Random(1).shuffle(paths)
        over = list(backend.get(map(fetch_job, paths)))
        assert {job.path for job in over if job.error is not None} == {self.path("missing")}
        assert {job.path: settle(job) for job in over if job.error is None} == made

    @pytest.mark.parametrize("after", [0, BLOCK])
    def test_sink_that_raises_fails_alone(self, backend: Backend, after: int) -> None:
        made = self.make(10, 3 * BLOCK if after else 4096)
        error = ServerFault("told to")
        jobs = [fetch_job(path) for path in made]
        jobs[4] = fetch_job(jobs[4].path, Failing(error, after))
        over = list(backend.get(iter(jobs)))
        assert len(over) == 10
        assert [job.error for job in over if job.error is not None] == [error]
        assert jobs[4].error is error
        assert all(settle(job) == made[job.path] for job in over if job.error is None)

    def test_announced_size_that_is_refused_fails_alone(self, backend: Backend) -> None:
        made = self.make(6)
        jobs = [
            fetch_job(path, required=Requirement("sha256", "", 7 if n == 2 else 100))
            for n, path in enumerate(made)
        ]
        over = list(backend.get(iter(jobs)))
        assert len(over) == 6
        failed = [job.path for job in over if job.error is not None or job.end.size != 100]
        assert failed == [jobs[2].path]

    def test_batch_is_pulled_while_it_runs(self, backend: Backend) -> None:
        """More jobs than any backend keeps in flight: those yielded make room for the others."""
        made = self.make(5)
        pulled = 0

        def live() -> Iterator[Job[Sink]]:
            nonlocal pulled
            for _ in range(100):
                for path in made:
                    pulled += 1
                    yield fetch_job(path)

        batch = backend.get(live())
        assert settle(next(batch)) is not None
        assert pulled < 500, "the whole batch was taken before its first job was over"
        assert sum(settle(job) == made[job.path] for job in batch) == 499
        assert pulled == 500

    def test_batch_may_be_empty_or_end_early(self, backend: Backend) -> None:
        made = self.make(3)
        assert list(backend.get(iter([]))) == []
        for path, data in made.items():
            assert [settle(job) for job in backend.get(iter([fetch_job(path)]))] == [data]

    def test_generator_closed_in_mid_batch(self, backend: Backend) -> None:
        made = self.make(20, 2 * BLOCK)
        batch = backend.get(map(fetch_job, made))
        assert next(batch).error is None
        batch.close()  # type: ignore[attr-defined]
        assert self.fetch(backend, "file0") == made[self.path("file0")]

    def test_closing_from_another_thread_ends_a_get(self, backend: Backend) -> None:
        """What is in flight then may arrive or fail; a backend that goes on would bring them all."""
        made = self.make(5, 4 * BLOCK)
        paths = list(made) * 20
        jobs = [fetch_job(path) for path in paths[1:]]
        jobs.insert(0, fetch_job(paths[0], Calling(lambda: in_thread(backend.close))))
        good = 0
        with suppress(TransferError):
            for job in backend.get(iter(jobs)):
                if job.error is None and job.end.size == 4 * BLOCK:
                    good += 1
                job.end.abort()
        assert good < len(jobs)

    def test_close_twice(self, backend: Backend) -> None:
        self.make(1)
        self.fetch(backend, "file0")
        backend.close()
        backend.close()

    def test_awkward_names(self, backend: Backend) -> None:
        names = [name for name in AWKWARD if name not in self.cannot_name]
        made = {self.path(f"d/{name}"): content(50, n) for n, name in enumerate(names)}
        assert len(made) == len(names)
        for path, data in made.items():
            self.write(path, data)
        over = list(backend.get(map(fetch_job, made)))
        assert {job.path: str(job.error) for job in over if job.error is not None} == {}
        assert {job.path: settle(job) for job in over} == made
        assert all(backend.stat(path).size == 50 for path in made)


class ListingSuite(BackendSuite):
    """``list``, for protocols that tell what is there."""

    def test_list_finds_all_at_any_depth(self, backend: Backend) -> None:
        made = {
            self.path(f"d/{name}"): content(size)
            for size, name in enumerate(["a", "b/c", "b/d/e", "b/d/f g%20", "z"])
        }
        made[self.path("d2/not-below")] = b"x"
        for path, data in made.items():
            self.write(path, data)
        del made[self.path("d2/not-below")]
        found = {entry.path: entry.size for entry in backend.list(self.path("d"))}
        assert found == {path: len(data) for path, data in made.items()}
        assert {job.path: settle(job) for job in backend.get(map(fetch_job, found))} == made

    def test_list_of_many(self, backend: Backend) -> None:
        made = {self.path(f"d/file{n:04}") for n in range(1100)}
        for path in made:
            self.write(path, b"")
        assert {entry.path for entry in backend.list(self.path("d"))} == made

    def test_list_of_awkward_names(self, backend: Backend) -> None:
        made = {self.path(f"d/{name}/{name}") for name in AWKWARD if name not in self.cannot_name}
        for path in made:
            self.write(path, b"x")
        assert {entry.path for entry in backend.list(self.path("d"))} == made

    def test_one_directory_is_listed_alone(self, backend: Backend) -> None:
        for name in ("d/a", "d/b/c", "d/b/d/e", "d2/not-below"):
            self.write(self.path(name), b"x")
        if not isinstance(backend, Scans):
            return
        found = {(entry.path.rstrip("/"), entry.directory) for entry in backend.scan(self.path("d"))}
        assert found == {(self.path("d/a"), False), (self.path("d/b"), True)}

    def test_what_is_told_of_many_files_is_told_of_each(self, backend: Backend) -> None:
        made = self.make(20, 100)
        missing = self.path("missing")
        if not isinstance(backend, InspectsMany):
            return
        found = dict(backend.inspect_many([*made, missing], ["sha256"]))
        assert isinstance(found.pop(missing), NotFound)
        for path, told in found.items():
            assert isinstance(told, Entry) and told.size == 100
            assert told.modified == backend.stat(path).modified
            assert told.digest in (None, ("sha256", sha256(made[path])))
        assert found.keys() == made.keys()

    def test_list_of_nothing_raises_not_found(self, backend: Backend) -> None:
        with pytest.raises(NotFound):
            list(backend.list(self.path("missing")))

    def test_list_closed_in_the_middle(self, backend: Backend) -> None:
        made = [{self.path(f"d{n}/file{m}") for m in range(10)} for n in range(2)]
        for path in made[0] | made[1]:
            self.write(path, b"x")
        listing = backend.list(self.path("d0"))
        assert next(listing).path in made[0]
        listing.close()  # type: ignore[attr-defined]
        assert {entry.path for entry in backend.list(self.path("d1"))} == made[1]

    def test_list_of_what_lies_deep(self, backend: Backend) -> None:
        path = self.path("/".join("d" for _ in range(40)) + "/file")
        self.write(path, b"x")
        assert {entry.path for entry in backend.list(self.path("d"))} == {path}
