"""Starts the helper that holds gfal2, and speaks to it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pegasus_toolkit.transfer.errors import (
    Cancelled,
    Denied,
    ServerFault,
    Side,
    TimedOut,
    TransferError,
    Unsupported,
    from_oserror,
)

HELPER = Path(__file__).with_name("helper.py")
HINT = (
    "apt install python3-gfal2 gfal2-plugin-srm gfal2-plugin-gridftp, "
    "or conda install -c conda-forge python-gfal2"
)
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "GLOBUS_TCP_PORT_RANGE", "GFAL_CONFIG_DIR", "GFAL_PLUGIN_DIR")
TEXT = 400  # letters of the library's explanation that are repeated
PYTHONS = (sys.executable, "/usr/bin/python3")  # where gfal2 may be installed

Moved = Callable[[int], None]


class Gfal:
    """One helper process. Raises errors of ours, told apart by gfal2's number."""

    def __init__(self, environ: Mapping[str, str], credential: Mapping[str, str], patience: float) -> None:
        self.patience = patience  # seconds without an answer
        self.environ = {name: environ[name] for name in KEPT if name in environ}
        self.environ |= {"LC_ALL": "C", **credential}
        self.python = environ.get("GFAL_PYTHONBIN", "")
        self.closed = False
        self._asking = False
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""
        self._lock = threading.Lock()

    def again(self) -> Gfal:
        """Another one like it, not closed."""
        return Gfal({**self.environ, "GFAL_PYTHONBIN": self.python}, self.environ, self.patience)

    def ask(
        self, verb: str, *arguments: str | int, url: str, side: Side = "", moved: Moved | None = None
    ) -> Any:
        """What the helper answers. ``moved`` hears how many bytes of a copy have passed."""
        self._asking = True
        try:
            return self._ask(verb, arguments, url, side, moved)
        finally:
            self._asking = False
            if self.closed:
                self._end()

    def _ask(
        self, verb: str, arguments: tuple[str | int, ...], url: str, side: Side, moved: Moved | None
    ) -> Any:
        process = self._running(url)
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps([verb, arguments]).encode() + b"\n")
            process.stdin.flush()
        while True:
            answer = self._answer(process, url)
            if "moved" not in answer:
                break
            if moved is not None:
                self._pass_on(moved, int(answer["moved"]))
        if "error" in answer:
            raise failure(int(answer["errno"]), str(answer["error"]), url, side)
        return answer["value"]

    def _pass_on(self, moved: Moved, count: int) -> None:
        try:
            moved(count)
        except TransferError:
            self._end()  # in the middle of a copy that nobody wants any more
            raise

    def _running(self, url: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.closed:
                raise Cancelled("closed", url=url)
            if self._process is not None:
                return self._process
        for python in self._candidates():
            process = self._start(python)
            try:
                assert process.stdin is not None
                process.stdin.write(b'["hello", []]\n')
                process.stdin.flush()
                found = "value" in self._answer(process, url)
            except (TransferError, OSError):
                found = False
            if found:
                return process
            self._end()
        raise Unsupported("needs gfal2 with its Python bindings, which are not installed", url=url, hint=HINT)

    def _candidates(self) -> list[str]:
        named = [self.python, *PYTHONS]
        return list(dict.fromkeys(path for name in named if name and (path := shutil.which(name))))

    def _start(self, python: str) -> subprocess.Popen[bytes]:
        with self._lock:
            if self.closed:
                raise Cancelled("closed")
            self._buffer = b""
            self._process = subprocess.Popen(
                [python, "-E", "-s", str(HELPER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what its libraries say is in the answers too
                env=self.environ,
                cwd="/",
                start_new_session=True,
            )
            return self._process

    def _answer(self, process: subprocess.Popen[bytes], url: str) -> dict[str, Any]:
        assert process.stdout is not None
        fd = process.stdout.fileno()
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([fd], [], [], self.patience)
            if not ready:
                self._end()
                raise TimedOut(f"gfal2 gave no sign for {self.patience:.0f} s", url=url)
            data = os.read(fd, 1 << 16)
            if not data:
                self._end()
                if self.closed:
                    raise Cancelled("closed", url=url)
                raise ServerFault("gfal2 ended unexpectedly", url=url)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer

    def _end(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """From any thread; whoever waits for an answer gets ``Cancelled``. Idempotent."""
        self.closed = True
        process = self._process
        if process is not None and self._asking:  # who asked tidies up itself
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            self._end()


def failure(code: int, text: str, url: str, side: Side = "") -> TransferError:
    """The error for gfal2's number, which is an ``errno``."""
    text = " ".join(text.split())[:TEXT]
    try:
        name = os.strerror(code)
    except (ValueError, OverflowError):
        name = text
    error = from_oserror(OSError(code, name), url=url, side=side)
    if isinstance(error, Denied) or error.kind == "transient":
        error.hint = f"gfal2 says: {text}"
    return error
