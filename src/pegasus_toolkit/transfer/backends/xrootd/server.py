"""One XRootD server or redirector: what it can, and single questions to it."""

from __future__ import annotations

from typing import Any

from pegasus_toolkit.transfer.backends.xrootd.errors import TLS_ERROR
from pegasus_toolkit.transfer.backends.xrootd.loop import Loop, Steps, Task
from pegasus_toolkit.transfer.backends.xrootd.moves import is_directory
from pegasus_toolkit.transfer.backends.xrootd.site import Site, configure, flags, has_tls
from pegasus_toolkit.transfer.errors import Denied
from pegasus_toolkit.transfer.interface import Endpoint, Entry, Settings


class Server:
    """As one user. Connects when it is first asked."""

    def __init__(self, endpoint: Endpoint, settings: Settings) -> None:
        configure(settings)
        self.site = Site(endpoint, settings)
        self.loop = Loop(max(1, int(settings.stall_timeout)))
        self._begun = False
        self._asked: dict[str, str] = {}  # what the server says of itself

    def stat(self, path: str) -> Entry:
        """Raises ``NotFound``."""
        found = self.ask(path, self.site.files.stat, self.site.path(path))
        directory = is_directory(found)
        return Entry(path, None if directory else int(found.size), directory)

    def begin(self) -> None:
        """Sees to it that there is TLS before a token is sent.

        A token that was only found is left out where there is none.
        """
        if self._begun:
            return
        if self.site.scheme == "roots":
            status, _ = self.answer(self.site.files.ping)
            if self.site.tentative and (has_tls() if status.ok else status.code != TLS_ERROR):
                self.site.tentative = False
            if self.site.tentative:
                self.site.leave_token_out()
            else:
                self.site.check(status, "/")
                if not has_tls():
                    raise Denied(
                        "no TLS", host=self.site.host, hint="set X509_CERT_DIR to trusted authorities"
                    )
        self._begun = True

    def can_copy(self) -> bool:
        """Whether it takes part in third-party copies."""
        return self._configured("tpc") not in ("", "0", "tpc")

    def checksums(self) -> tuple[str, ...]:
        """The algorithms that it can tell."""
        items = self._configured("chksum").split(",")
        return tuple(item.rpartition(":")[2].strip().lower() for item in items if ":" in item)

    def common(self, other: Server) -> str:
        """An algorithm that both can tell; "" for none."""
        theirs = other.checksums()
        return next((name for name in self.checksums() if name in theirs), "")

    def _configured(self, what: str) -> str:
        """What the server's configuration says; "" where it does not tell."""
        if what not in self._asked:
            self.begin()
            status, answer = self.answer(self.site.files.query, flags.QueryCode.CONFIG, what)
            if not status.ok and status.code != 400:
                raise self.site.error(status, "/")
            self._asked[what] = answer.strip(b"\0\n").decode("ascii", "replace") if status.ok else ""
        return self._asked[what]

    def ask(self, path: str, method: Any, *arguments: Any) -> Any:
        """One request and its answer. Raises what the status stands for."""
        self.begin()
        status, response = self.answer(method, *arguments)
        self.site.check(status, path)
        return response

    def answer(self, method: Any, *arguments: Any) -> tuple[Any, Any]:
        """One request; its status and its answer."""
        came: list[tuple[Any, Any]] = []

        def steps(task: Task) -> Steps:
            task.call(method, *arguments)
            _, status, response = yield
            came.append((status, response))

        self.loop.wait(steps)
        return came[0]
