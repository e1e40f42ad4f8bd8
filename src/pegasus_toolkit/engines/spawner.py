"""The engine's side of the zygote: programs are started, and their ends are told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pegasus_toolkit.engines.messages import Channel, Ended, Refused, Reply, Signal, Start, Started

_CODE = "import sys; sys.path[:] = {path!r}; from {module} import main; main({fd}, {preload!r}, {scratch!r})"


class Program(NamedTuple):
    """What is to be run. Paths are absolute; those of files may be "", which is /dev/null. ``argv[0]`` is
    executed; with ``entry``, a function ``module:name`` of ours runs in its place."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    cwd: str
    stdin: str = ""
    stdout: str = ""
    stderr: str = ""
    append: bool = False
    entry: str = ""


class Gone(Exception):
    """The zygote died; what it had started has been killed, as far as it could be found."""


class Spawner:
    """Starts programs through a zygote of its own, which has ``preload`` imported.

    Whatever was started is killed when this process ends, in whatever way; then ``scratch`` is removed, too.
    """

    def __init__(self, preload: Sequence[str] = (), scratch: str = "") -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            code = _CODE.format(
                path=[os.path.abspath(one) for one in sys.path],  # noqa: PTH100  "" is the directory here
                module="pegasus_toolkit.engines.zygote",
                fd=theirs.fileno(),
                preload=list(preload),
                scratch=scratch,
            )
            self._process = subprocess.Popen(
                # Our own programs write UTF-8, whatever a job's variables say.
                [sys.executable, "-X", "utf8", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._channel = Channel(ours)
        self._decode = msgspec.msgpack.Decoder(Reply).decode
        self._pids: dict[int, int] = {}

    def fileno(self) -> int:
        """To wait for: readable when :meth:`replies` has something."""
        return self._channel.socket.fileno()

    def start(self, id: int, program: Program) -> None:
        """Starts it; ``id`` is no other running program's."""
        encode = os.fsencode
        self._send(
            Start(
                id=id,
                argv=tuple(map(encode, program.argv)),
                environ=tuple((encode(key), encode(value)) for key, value in program.environ.items()),
                cwd=encode(program.cwd),
                stdin=encode(program.stdin),
                stdout=encode(program.stdout),
                stderr=encode(program.stderr),
                append=program.append,
                entry=program.entry,
            )
        )

    def signal(self, id: int, number: int) -> None:
        """Sends a signal to a program and all that it has started."""
        self._send(Signal(id, number))

    def replies(self) -> Iterator[Refused | Ended]:
        """The ends of programs that came since; raises :class:`Gone`."""
        try:
            for message in self._channel.receive():
                reply = self._decode(message)
                if isinstance(reply, Started):
                    self._pids[reply.id] = reply.pid
                else:
                    self._pids.pop(reply.id, None)
                    yield reply
        except (EOFError, ConnectionError):
            raise self._gone() from None

    def close(self) -> None:
        """Kills what still runs, and waits until it is gone."""
        self._channel.socket.close()
        self._process.wait()

    def _send(self, message: Start | Signal) -> None:
        try:
            self._channel.send(message)
        except (BrokenPipeError, ConnectionError):
            raise self._gone() from None

    def _gone(self) -> Gone:
        for pid in self._pids.values():
            try:
                os.killpg(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        self._pids.clear()
        return Gone("the process that starts jobs was killed")
