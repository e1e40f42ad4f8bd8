"""How the HTTP tests open a backend and fetch with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends.http.backend import Http
from pegasus_toolkit.transfer.backends.http.get import Tuning
from pegasus_toolkit.transfer.errors import TransferError
from pegasus_toolkit.transfer.interface import Control, Endpoint, Job, Requirement, Settings, Sink
from pegasus_toolkit.transfer.streams.files import FileSink
from tests.material import fetch_job, settle

KEEP = Control(keep_partial=True)


def credentials(directory: Path, text: str) -> Credentials:
    """Those of a credentials file that holds ``text``."""
    path = directory / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text(text)
    return Credentials.load({"PEGASUS_CREDENTIALS": str(path)})


class World:
    """Opens backends, and closes them at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.opened: list[Http] = []

    def open(
        self,
        authority: str,
        *,
        scheme: str = "http",
        section: str = "",
        environ: Mapping[str, str] | None = None,
        tuning: Tuning | None = None,
        stall: float = 20,
        streams: int = 4,
    ) -> Http:
        """``section``: lines of the credentials file's section for that host."""
        text = f"[{scheme}://{authority.rpartition('@')[2]}]\n{section}\n" if section else ""
        settings = Settings(
            credentials(self.directory, text), environ or {}, stall_timeout=stall, streams=streams
        )
        self.opened.append(Http(Endpoint(scheme, authority, "here"), settings, tuning))
        return self.opened[-1]

    def sink(self, required: Requirement | None = None) -> FileSink:
        """A local file that keeps what came of it for the next attempt."""
        return FileSink(str(self.directory / "file"), required or Requirement(), KEEP)

    @property
    def file(self) -> bytes | None:
        """What was published by ``sink``."""
        path = self.directory / "file"
        return path.read_bytes() if path.exists() else None


def get(
    backend: Http, path: str = "/file", end: Sink | None = None, required: Requirement | None = None
) -> bytes | None:
    """One file as the engine would fetch it. Raises its error."""
    (job,) = backend.get(iter([fetch_job(path, end, required)]))
    if job.error is not None:
        job.end.abort()
        raise job.error
    if end is not None:
        job.end.commit()
        return None
    return settle(job)


def failure(backend: Http, path: str = "/file", end: Sink | None = None) -> TransferError:
    """The error that fetching one file ends with."""
    try:
        get(backend, path, end)
    except TransferError as error:
        return error
    raise AssertionError("it should have failed")


def batch(backend: Http, paths: list[str]) -> Iterator[Job[Sink]]:
    return backend.get(map(fetch_job, paths))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for backend in made.opened:
        backend.close()
