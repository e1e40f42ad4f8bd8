"""The process that starts and watches all programs of a run.

Starting Python and importing the worker takes longer than most of its jobs. So this one has it loaded, and
makes a copy of itself by ``fork`` for each; other programs are started as usual. It has one thread, so that
fork is safe. When the engine is gone, however it went, all that was started here is killed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from pegasus_toolkit.engines.messages import Channel, Ended, Refused, Request, Signal, Start, Started

_SUBREAPER = 36  # prctl: orphans among our descendants become our children, so that none gets away


def main(fd: int, preload: Sequence[str], scratch: str) -> None:
    """Serves the engine at the other end of the socket ``fd`` until that is closed."""
    os.set_inheritable(fd, False)  # who has it would seem to be us
    os.setsid()  # not killed with the engine's terminal or process group: somebody has to clean up
    for module in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    _adopt_orphans()
    gc.collect()
    gc.freeze()  # so that collections in the copies touch no memory that is shared
    zygote = _Zygote(Channel(socket.socket(fileno=fd)))
    try:
        zygote.serve()
    except (EOFError, ConnectionError):
        zygote.end_all()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)  # there is nothing to tidy up in here, and somebody waits


class _Zygote:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.decode = msgspec.msgpack.Decoder(Request).decode
        self.running: dict[int, int] = {}  # pid: id
        self.pids: dict[int, int] = {}
        self.wakeup, self.woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.woken, warn_on_full_buffer=False)
        while True:
            ready, _, _ = select.select([self.channel.socket.fileno(), self.wakeup], [], [])
            if self.wakeup in ready:
                os.read(self.wakeup, 4096)
                self.reap()
            if self.channel.socket.fileno() in ready:
                for message in self.channel.receive():
                    self.do(self.decode(message))

    def do(self, request: Request) -> None:
        if isinstance(request, Signal):
            pid = self.pids.get(request.id)
            if pid is not None and not _kill_group(pid, request.number):
                os.kill(pid, request.number)  # it has not made its session yet
            return
        try:
            pid = self.start(request)
        except OSError as error:
            where = f": {os.fsdecode(error.filename)}" if error.filename else ""
            self.channel.send(Refused(request.id, f"{error.strerror}{where}"))
            return
        self.running[pid] = request.id
        self.pids[request.id] = pid
        self.channel.send(Started(request.id, pid))

    def start(self, request: Start) -> int:
        with contextlib.ExitStack() as stack:
            directory = os.open(request.cwd, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, directory)
            files = _open(request, stack)
            if not request.entry:
                os.fchdir(directory)
                return _spawn(request, files)
            pid = os.fork()
            if not pid:
                _become(request, directory, files)
            return pid

    def reap(self) -> None:
        """Tells of all that ended. What a program left running goes with it."""
        while (pid := _ended()) is not None:
            if pid in self.running:
                _kill_group(pid, signal.SIGKILL)  # the number is still its own
            _, status, usage = os.wait4(pid, 0)
            id = self.running.pop(pid, None)
            if id is not None:
                del self.pids[id]
                code = os.waitstatus_to_exitcode(status)
                self.channel.send(Ended(id, code, usage.ru_utime, usage.ru_stime, time.time()))

    def end_all(self) -> None:
        signal.set_wakeup_fd(-1)
        for pid in self.running:
            _kill_group(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in _children():
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                os.wait()


def _open(request: Start, stack: contextlib.ExitStack) -> tuple[int, int, int]:
    how = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if request.append else os.O_TRUNC)
    stdin = os.open(request.stdin or os.devnull, os.O_RDONLY)
    stack.callback(os.close, stdin)
    stdout = os.open(request.stdout or os.devnull, how, 0o666)
    stack.callback(os.close, stdout)
    if request.stderr == request.stdout:
        return stdin, stdout, stdout
    stderr = os.open(request.stderr or os.devnull, how, 0o666)
    stack.callback(os.close, stderr)
    return stdin, stdout, stderr


def _spawn(request: Start, files: tuple[int, int, int]) -> int:
    return os.posix_spawn(
        request.argv[0],
        request.argv,
        dict(request.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)],
        setsid=True,
        setsigmask=[],
        setsigdef=[n for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)],
    )


def _become(request: Start, directory: int, files: tuple[int, int, int]) -> NoReturn:
    """Is the new process: as if the program had just been started, then that program."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.fchdir(directory)
        for number, fd in enumerate(files):
            os.dup2(fd, number)
        os.closerange(3, 1024)
        os.environ.clear()
        os.environb.update(request.environ)
        time.tzset()
        sys.argv = [os.fsdecode(word) for word in request.argv]
        module, _, name = request.entry.partition(":")
        code = _code(getattr(importlib.import_module(module), name)())
    except SystemExit as end:
        code = _code(end.code)
    except BaseException:  # noqa: BLE001  the end of a program: told as Python does
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def _code(value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    print(value, file=sys.stderr)
    return 1


def _ended() -> int | None:
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid


def _kill_group(pid: int, number: int) -> bool:
    """False if there is no such group."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # all that is left of it is not ours to kill
        pass
    return True


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
