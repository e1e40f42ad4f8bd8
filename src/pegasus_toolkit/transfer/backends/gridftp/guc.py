"""GridFTP with the bytes moved by ``globus-url-copy``, over authenticated data connections.

Worth it where a server insists on authenticated data connections, or for several connections a large
file. One process moves a list of files and stops at the first that fails; which ones are whole is
then asked of the storage (sizes), never read from messages, and the rest goes on in another process.
Names aside, checks, renames and all else are our own client's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from pegasus_toolkit.transfer.backends.gridftp import names as gridftp_names
from pegasus_toolkit.transfer.backends.gridftp.copy import rename
from pegasus_toolkit.transfer.backends.gridftp.direct import GridFtp
from pegasus_toolkit.transfer.backends.gridftp.errors import PROTECTION, failure
from pegasus_toolkit.transfer.backends.gridftp.login import GsiConnector
from pegasus_toolkit.transfer.backends.gridftp.names import Facts
from pegasus_toolkit.transfer.backends.gridftp.wire import Reply
from pegasus_toolkit.transfer.errors import Cancelled, Corrupted, Side, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Abilities, Backend, Endpoint, Job, Settings, Sink, Source

BATCH = 256  # files of one process
LARGE = 64 << 20  # bytes from which on several connections serve one file
LOOK = 0.2  # seconds between looks at a process
KEPT = (
    "PATH",
    "HOME",
    "LD_LIBRARY_PATH",
    "GLOBUS_TCP_PORT_RANGE",
    "GLOBUS_TCP_SOURCE_RANGE",
    "GLOBUS_HOSTNAME",
)
_REPLY = re.compile(r"^(?:\d{3}[ -])?(\d{3})[- ](.*)$", re.MULTILINE)


class Pair(NamedTuple):
    """One line of a list: a file here and its URL there."""

    job: Job[Any]
    file: str
    remote: str
    size: int | None


class Guc(GridFtp):
    """As its base, with whole local files moved by the tool."""

    abilities = Abilities(in_flight=1, streams=False, threads=2)

    def __init__(self, connector: GsiConnector, settings: Settings, endpoint: Endpoint, tool: str) -> None:
        super().__init__(connector, settings, endpoint)
        self._gsi = connector
        self.tool = tool
        self._process: subprocess.Popen[bytes] | None = None
        self._private = False  # data are encrypted

    def get(self, jobs: Iterator[Job[Sink]]) -> Iterator[Job[Sink]]:
        """Sizes first, then the files that are there."""
        with self.use():
            while batch := list(islice(jobs, BATCH)):
                self.names()  # who is not let in need not try each file
                pairs = [pair for job in batch if (pair := self._wanted(job)) is not None]
                self._all(pairs, "source")
                yield from batch

    def _wanted(self, job: Job[Sink]) -> Pair | None:
        try:
            found = gridftp_names.stat(self.names(), job.path)
            if error := gridftp_names.not_a_directory(found, self.connector.url + job.path):
                raise error
            if found.size is not None:
                job.end.announce(found.size)
            if job.end.file is None:
                raise Unsupported("globus-url-copy can only fill whole local files", url=self.connector.url)
            return Pair(job, job.end.file, job.path, found.size)
        except TransferError as error:
            if self.broken():
                raise
            job.error = error
            return None

    def put(self, jobs: Iterator[Job[Source]]) -> Iterator[Job[Source]]:
        """To names aside; renamed when the server tells the right size."""
        with self.use():
            while batch := list(islice(jobs, BATCH)):
                self.names()  # who is not let in need not try each file
                pairs = [pair for job in batch if (pair := self._given(job)) is not None]
                try:
                    self._all(pairs, "destination")
                    for pair in pairs:
                        self._publish(pair)
                except BaseException:
                    self.sweep([pair.remote for pair in pairs])
                    raise
                self.sweep([pair.remote for pair in pairs if pair.job.error is not None])
                yield from batch

    def _given(self, job: Job[Source]) -> Pair | None:
        try:
            if job.end.file is None:
                raise Unsupported("globus-url-copy can only take whole local files", url=self.connector.url)
            self.make_parent(job.path)
            return Pair(job, job.end.file, self.aside(job.path), job.end.size)
        except TransferError as error:
            if self.broken():
                raise
            job.error = error
            return None

    def _publish(self, pair: Pair) -> None:
        if pair.job.error is None:
            try:
                rename(self.names(), pair.remote, pair.job.path)
            except TransferError as error:
                pair.job.error = error

    # -- the tool ------------------------------------------------------------------------------------

    def _all(self, pairs: list[Pair], side: Side) -> None:
        """Moves them all; each round settles at least the file that ended it."""
        while pairs:
            status, said = self._run(pairs, side)
            whole = self._whole(pairs, side)
            rest = [pair for pair, good in zip(pairs, whole, strict=True) if not good]
            if not rest:
                return
            if status == 0:  # it thinks that it moved them
                for pair in rest:
                    text = f"not the {pair.size} bytes that there were"
                    pair.job.error = Corrupted(text, url=self.connector.url + pair.remote, side=side)
                return
            reply = _reply(said)
            if reply.code in PROTECTION and not self._private:
                self._private = True  # the server insists on encrypted data, so that is tried
            else:
                first = rest.pop(0)
                url = self.connector.url + first.job.path
                first.job.error = failure(reply, url, self.connector.host, side=side)
            pairs = rest

    def _whole(self, pairs: Sequence[Pair], side: Side) -> list[bool]:
        if side == "source":
            return [_size(pair.file) == pair.size for pair in pairs]
        found: list[Facts | TransferError] = []
        names = self.names()
        for pair in pairs:
            gridftp_names.look(names, pair.remote, found.append)
            if len(names.waiting) >= 32:
                names.pump()
        while len(found) < len(pairs):
            names.pump()
        sizes = [None if isinstance(told, TransferError) else told.size for told in found]
        return [size == pair.size for size, pair in zip(sizes, pairs, strict=True)]

    def _run(self, pairs: Sequence[Pair], side: Side) -> tuple[int, str]:
        """One process for all: its exit status, and what it said."""
        with tempfile.TemporaryDirectory(prefix="pegasus-transfer-") as directory:  # 0700
            listed, said = Path(directory, "list"), Path(directory, "said")
            listed.write_text("".join(self._line(pair, side) for pair in pairs), encoding="ascii")
            argv = [self.tool, "-fast", "-stall-timeout", f"{max(1, int(self.settings.stall_timeout))}"]
            if self._private:
                argv.append("-dcpriv")
            if self.settings.streams > 1 and any((pair.size or 0) >= LARGE for pair in pairs):
                argv += ["-p", str(self.settings.streams)]
            with said.open("wb") as output:
                status = self._wait([*argv, "-f", str(listed)], output.fileno(), pairs, side)
            return status, said.read_text(encoding="utf-8", errors="replace")

    def _line(self, pair: Pair, side: Side) -> str:
        """Percent-encoded, so that no name needs quotes: the tool decodes both."""
        here = f"file://{quote(str(Path(pair.file).absolute()))}"
        there = f"{self.connector.url}{quote(pair.remote, errors='surrogateescape')}"
        return f"{there} {here}\n" if side == "source" else f"{here} {there}\n"

    def _wait(self, argv: list[str], output: int, pairs: Sequence[Pair], side: Side) -> int:
        with self._lock:
            if self.closed:
                raise Cancelled("closed", url=self.connector.url)
            process = self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._environment(),
                cwd="/", start_new_session=True,
            )  # fmt: skip
        moved = 0
        try:
            while process.poll() is None:
                time.sleep(LOOK if moved else LOOK / 10)
                moved = _progress(pairs, process.pid, side, moved)
        finally:
            _end(process)
            self._process = None
        if self.closed:
            raise Cancelled("closed", url=self.connector.url)
        return process.returncode

    def _environment(self) -> dict[str, str]:
        credential = self._gsi.credential
        environ = {name: self.settings.environ[name] for name in KEPT if name in self.settings.environ}
        environ |= {"LC_ALL": "C", "X509_CERT_DIR": self._gsi.authorities}
        if credential.proxy:
            return environ | {"X509_USER_PROXY": credential.path}
        return environ | {"X509_USER_CERT": credential.certificate, "X509_USER_KEY": credential.key}

    def close(self) -> None:
        """From any thread; ends the tool."""
        super().close()
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _reply(said: str) -> Reply:
    """The server's reply that the tool repeats: its numbers count, not the tool's own words."""
    replies = _REPLY.findall(said)
    code = int(replies[0][0]) if replies else 0
    return Reply(code, tuple(text for _, text in replies) or (said.strip()[:300] or "it does not say why",))


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _size(file: str) -> int | None:
    try:
        return Path(file).stat().st_size
    except OSError:
        return None


def _progress(pairs: Sequence[Pair], pid: int, side: Side, before: int) -> int:
    """Tells the engine of bytes that passed. Raises once the run is told to stop."""
    count = sum(_size(pair.file) or 0 for pair in pairs) if side == "source" else _read_by(pid)
    pairs[0].job.end.passed(max(0, count - before))
    return max(count, before)


def _read_by(pid: int) -> int:
    """Bytes that a process has read, as the kernel counts; 0 where it does not tell."""
    try:
        found = re.search(r"rchar: (\d+)", Path(f"/proc/{pid}/io").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


_backend: type[Backend] = Guc
