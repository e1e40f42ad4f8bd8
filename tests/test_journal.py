"""The journal: what is done stays done, what is not is done again, and no file is spoilt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.errors import NotFound
from pegasus_toolkit.transfer.model import Checksum, Operation, Remove
from pegasus_toolkit.transfer.records.journal import MAGIC, Journal, JournalError, leftovers
from tests.material import AWKWARD, sha256
from tests.outcomes import done, failed, local, make_directory, transfer, web


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def noted(path: Path, *operations: Operation, run: str = "run1") -> None:
    """A run that did these and was then killed."""
    journal = Journal(str(path), run)
    journal.begin()
    journal.settled([done(operation, b"abc") for operation in operations])
    journal.close()


def download(directory: Path, name: str = "f", **options: object) -> Operation:
    """A download whose result stands there."""
    (directory / name).write_bytes(b"abc")
    return transfer(web(f"http://h/{name}"), local(directory / name), **options)


def is_done(path: Path, operation: Operation) -> bool:
    journal = Journal(str(path), "again")
    try:
        return journal.done(operation)
    finally:
        journal.close()


def test_what_was_done_is_known_again(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    noted(path, operation)
    assert is_done(path, operation)


def test_in_another_place_of_the_specification_too(path: Path, tmp_path: Path) -> None:
    noted(path, download(tmp_path, id=3))
    assert is_done(path, download(tmp_path, id=8))


def test_what_was_not_done_is_not_known(path: Path, tmp_path: Path) -> None:
    noted(path, download(tmp_path, "f"))
    assert not is_done(path, download(tmp_path, "g"))


def test_a_failure_is_not_noted(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    journal = Journal(str(path), "run1")
    journal.settled([failed(operation, NotFound("no"))])
    journal.close()
    assert not is_done(path, operation)


@pytest.mark.parametrize(
    "changes",
    [
        {"lfn": "other"},
        {"size": 3},
        {"checksum": Checksum("sha256", sha256(b"abc"))},
        {"verify_checksum_remote": True},
        {"generate_checksum": True, "lfn": "x"},
    ],
)
def test_an_operation_that_asks_for_more_is_done_again(
    path: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    noted(path, download(tmp_path))
    assert not is_done(path, download(tmp_path, **changes))


def test_a_destination_that_is_gone_is_moved_again(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    noted(path, operation)
    (tmp_path / "f").unlink()
    assert not is_done(path, operation)


def test_a_destination_of_another_size_is_moved_again(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    noted(path, operation)
    (tmp_path / "f").write_bytes(b"abcd")
    assert not is_done(path, operation)


def test_an_upload_is_known_without_looking(path: Path) -> None:
    operation = transfer(local("/nowhere/f"), web("http://h/f"))
    noted(path, operation)
    assert is_done(path, operation)


def test_another_destination_of_the_same_operation(path: Path, tmp_path: Path) -> None:
    """Moved to the second destination, as the first failed."""
    (tmp_path / "f").write_bytes(b"abc")
    first, second = web("http://h/f"), local(tmp_path / "f")
    operation = transfer(web("http://h/src"), first)
    both = type(operation)(id=0, sources=operation.sources, destinations=(first, second))
    outcome = done(both, b"abc")
    last = outcome.attempts[0]._replace(destination=second)
    journal = Journal(str(path), "run1")
    journal.settled([done(both, b"abc", attempts=(last,))])
    journal.close()
    assert is_done(path, both)
    (tmp_path / "f").unlink()
    assert not is_done(path, both)


def test_mkdir_and_remove(path: Path, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    mkdir, remove = make_directory(tmp_path / "d"), Remove(id=1, target=local(tmp_path / "gone"))
    noted(path, mkdir, remove)
    assert is_done(path, mkdir)
    assert is_done(path, remove)
    assert not is_done(path, Remove(id=1, target=local(tmp_path / "gone"), recursive=True))
    (tmp_path / "d").rmdir()
    assert not is_done(path, mkdir)


def test_a_directory_moved_file_by_file_is_listed_again(path: Path, tmp_path: Path) -> None:
    operation = transfer(web("http://h/d/"), local(tmp_path))
    journal = Journal(str(path), "run1")
    journal.settled([done(operation, route="directory", files=7)])
    journal.close()
    assert not is_done(path, operation)


@pytest.mark.parametrize("name", AWKWARD)
def test_names_of_any_letters(path: Path, tmp_path: Path, name: str) -> None:
    operation = download(tmp_path, name)
    noted(path, operation)
    assert is_done(path, operation)
    assert path.read_bytes().count(b"\n") == 3


def test_a_journal_cut_at_any_byte_serves(path: Path, tmp_path: Path) -> None:
    operations = [download(tmp_path, f"f{n}") for n in range(3)]
    noted(path, *operations)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        journal = Journal(str(path), "again")
        assert [journal.done(o) for o in operations] == [end <= cut for end in ends[2:]]
        assert journal.damaged == 0
        journal.settled([done(operations[2], b"abc")])
        journal.close()
        assert is_done(path, operations[2])


@pytest.mark.parametrize("content", [b"important data\n", b"\0\1\2", MAGIC[:-1] + b"0\n", MAGIC[1:], b"\n"])
def test_a_file_that_is_no_journal_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(JournalError, match="not a journal of pegasus-transfer"):
        Journal(str(path), "run1")
    assert path.read_bytes() == content


def test_lines_that_cannot_be_read_are_counted(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    noted(path, operation)
    content = path.read_bytes()
    path.write_bytes(content + b"\0" * 50 + b"\n" + b"end ../../x\n" + b"zz 1 -\n")
    journal = Journal(str(path), "again")
    assert journal.damaged == 3
    assert journal.done(operation)
    journal.close()


def test_two_runs_cannot_share_a_journal(path: Path) -> None:
    journal = Journal(str(path), "run1")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="in use by another run"):
        Journal(str(path), "run2")
    journal.close()
    assert path.read_bytes() == before
    Journal(str(path), "run2").close()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, tmp_path / "none" / "journal"):
        with pytest.raises(JournalError):
            Journal(str(path), "run1")


def test_runs_that_did_not_end_are_told(path: Path) -> None:
    noted(path, run="dead1")
    noted(path, run="dead2")
    journal = Journal(str(path), "run3")
    assert journal.previous_runs == ("dead1", "dead2")
    journal.begin()
    journal.finish()
    journal = Journal(str(path), "run4")
    assert journal.previous_runs == ()
    journal.close()


def test_digests_of_earlier_runs_are_recalled(path: Path, tmp_path: Path) -> None:
    first, second = download(tmp_path, "f"), download(tmp_path, "g")
    noted(path, first)
    journal = Journal(str(path), "again")
    (record,) = journal.recall([first, second])
    journal.close()
    assert (record.operation, record.size, record.algorithm) == (first, 3, "sha256")
    assert record.digest == sha256(b"abc")
    assert record.destination.path == str(tmp_path / "f")


def test_leftovers_of_dead_runs_and_nothing_else(tmp_path: Path) -> None:
    target, temporary = tmp_path / "target", tmp_path / "tmp"
    litter = [".f.dead.part", ".f.dead-0a1b.part", ".é\n.dead.part"]
    others = ["f", ".f.live.part", ".f.dead.partial", "f.dead.part", ".f.deadx.part", ".f.dead-xyz.part"]
    for directory in (target, target / "tree" / "below"):
        directory.mkdir(parents=True)
        for name in (*litter, *others):
            (directory / name).touch()
    (temporary / "pegasus-transfer-dead-x1").mkdir(parents=True)
    (temporary / "pegasus-transfer-live-x1").mkdir()
    operations = [
        transfer(web("http://h/f"), local(target / "f")),
        transfer(web("s3://b/k"), web("http://h/x")),
    ]
    runs = ("dead", "gone")
    found = set(leftovers(operations, runs, str(temporary)))
    assert found == {str(target / n) for n in litter} | {str(temporary / "pegasus-transfer-dead-x1")}
    tree = [transfer(web("http://h/d/"), local(target))]
    below = {str(target / "tree" / "below" / name) for name in litter}
    assert below < set(leftovers(tree, runs, str(temporary)))
    assert list(leftovers(operations, (), str(temporary))) == []


def test_a_full_disk_is_remembered(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    journal = Journal(str(path), "run1")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, journal.file.fd)
    os.close(full)
    journal.settled([done(operation, b"abc")])
    journal.finish()
    assert "No space left" in (journal.file.complaint("the journal") or "")


def test_a_look_changes_nothing(path: Path, tmp_path: Path) -> None:
    operation = download(tmp_path)
    noted(path, operation)
    with path.open("ab") as file:
        file.write(b"killed in mid-lin")
    before = path.read_bytes()
    running = Journal(str(tmp_path / "other"), "run1")
    for other in (path, tmp_path / "other"):  # one that was killed, one that is in use
        look = Journal(str(other), "", look=True)
        assert look.done(operation) == (other == path)
        look.close()
    running.close()
    assert path.read_bytes() == before
