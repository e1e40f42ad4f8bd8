"""Files that observers write while a run goes on: one ``write`` a batch, and errors kept for the end.

A full disk under the report must not stop the transfers, nor may it pass in silence: the first
error is remembered, nothing more is written, and whoever closes the file asks ``error``.
"""

from __future__ import annotations

import os

from pegasus_toolkit.integrity.regular import open_output

NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class OutFile:
    """A file open for writing; a device or a FIFO stays what it is, and is written to.

    ``error``: what went wrong first, if anything did.
    """

    def __init__(self, path: str, flags: int = NEW, mode: int = 0o666) -> None:
        """Raises ``OSError``: a file that cannot be opened is told before anything moves."""
        self.path = path
        self.error: OSError | None = None
        self.fd = open_output(path, flags, mode)

    def write(self, data: bytes) -> None:
        """Hands all of ``data`` to the kernel, from where it survives the end of this process."""
        if self.error is not None or self.fd < 0:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError as error:
            self.error = error

    def close(self) -> None:
        """Idempotent; an error of closing is remembered too (NFS tells a full disk only here)."""
        fd, self.fd = self.fd, -1
        if fd < 0:
            return
        try:
            os.close(fd)
        except OSError as error:
            self.error = self.error or error

    def complaint(self, what: str) -> str | None:
        """One line that says what is missing from the file, or None when nothing is."""
        if self.error is None:
            return None
        return f"{what} {self.path!r} is incomplete: {self.error.strerror or self.error}"
