"""What an FTP server gives to the stories."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from pegasus_toolkit.transfer.backends.http.sending import Body
from pegasus_toolkit.transfer.backends.shared.files import (
    CannotRename,
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    parent,
    perhaps,
)
from pegasus_toolkit.transfer.backends.shared.runner import Steps
from pegasus_toolkit.transfer.clients import facts
from pegasus_toolkit.transfer.clients.curl.ftp import (
    Commands,
    FtpExchange,
    FtpSession,
    Listing,
    Reply,
    Retrieve,
    Store,
    name,
    of_reply,
)
from pegasus_toolkit.transfer.errors import Denied, NotFound, ServerFault, TransferError, Unsupported
from pegasus_toolkit.transfer.interface import Job, Sink, Source
from pegasus_toolkit.transfer.units import number

PAGE = 256 << 20  # bytes of one listing, at most
UNKNOWN = frozenset({500, 501, 502, 504})  # of servers that know a command not
REFUSALS: dict[int, tuple[str, ...]] = {  # of a STOR: what may be behind the reply
    450: ("parent",),
    451: ("parent",),
    501: ("name",),
    550: ("parent", "name"),
    553: ("parent", "name"),
}
_DATE = r"(?:\S+\s+\d+\s+[\d:]+|\d{4}-\d\d-\d\d\s+\d\d:\d\d\S*)"
_UNIX = re.compile(rf"([-dlbcps])\S{{9}}\S?\s+\d+\s+\S+\s+\S+\s+(\d+(?:,\s*\d+)?)\s+{_DATE} (.*)", re.DOTALL)
_DOS = re.compile(r"\d\d-\d\d-\d\d+\s+\d\d:\d\d(?:[AP]M)?\s+(<DIR>|\d+)\s+(.*)", re.DOTALL)
_TOTAL = re.compile(r"total \d+")


class FtpFiles(PlainFiles):
    """One server, for one runner."""

    def __init__(self, session: FtpSession, traits: Traits) -> None:
        super().__init__(traits)
        self.session = session

    def refusal(self, reply: Reply, url: str, *why: str) -> TransferError:
        """What a reply stands for that is none of the wanted ones, and what may be behind it."""
        return perhaps(of_reply(reply, url, self.session.host, self.session.access.section), *why)

    def existing(self, error: TransferError) -> TransferError:
        """A refusal of what exists is no "not found", though servers say 550 of both."""
        if not isinstance(error, NotFound):
            return error
        return perhaps(Denied(error.message, url=error.url, host=error.host), *error.perhaps)

    # -- names -------------------------------------------------------------------------------------

    def url(self, path: str) -> str:
        """Where it is, for errors."""
        return f"{self.session.base}{path}"

    def check(self, path: str) -> None:
        """Refuses names that would be more than one command."""
        name(path)

    # -- files -------------------------------------------------------------------------------------

    def sending(self, job: Job[Source]) -> Sending:
        """Read at once where it is small."""
        return Body(job)

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """STOR; then SIZE, as the end of the data says nothing about whether it was all."""
        assert isinstance(sending, Body)
        store = yield Store(self.session, name, sending.upload)
        sending.sent = sending.upload.sent
        if (error := store.failed()) is not None:
            raise perhaps(self.existing(error), *REFUSALS.get(store.code, ()))
        return Stored(store.replies[-1].size)

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """RETR."""
        retrieve = yield Retrieve(self.session, path, sink)
        if (error := retrieve.failed()) is not None:
            raise error

    def stat(self, path: str) -> Steps[Found]:
        """By MLST, or for servers without it by SIZE, and by CWD there and back."""
        plain = name(path.rstrip("/") or "/") or "."
        if self.session.facts:
            (answer,), url = yield from self._answers(path, f"*MLST {plain}")
            if answer.code not in UNKNOWN:
                return self._of_facts(answer, url)
            self.session.facts = False
        commands = ("TYPE I", f"*SIZE {plain}", f"*CWD {plain}", f"CWD {self.session.entry}")
        (_, size, answer, _), url = yield from self._answers(path, *commands)
        if size.size is not None:
            return Found("", False, size.size)
        if answer.code != 250:
            raise self.refusal(answer, url)
        return Found("", True)

    def _of_facts(self, answer: Reply, url: str) -> Found:
        if answer.code != 250 or len(answer.lines) < 2:
            raise self.refusal(answer, url)
        found = _facts(re.sub("(?i)type=[cp]dir", "type=dir", answer.lines[1].strip()))
        if found is None:
            raise ServerFault(f"an answer to MLST that is not understood: {answer.lines[1][:120]!r}", url=url)
        return found._replace(name="")

    def _answers(self, path: str, *commands: str) -> Steps[tuple[list[Reply], str]]:
        """The replies to commands that may fail, each of them."""
        step: Commands = yield Commands(self.session, path, *commands)
        if (error := step.failed()) is not None:
            raise error
        if len(step.answers) < len(commands):
            raise ServerFault("fewer answers than commands", url=step.url, host=self.session.host)
        return step.answers, step.url

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """RNFR and RNTO. Some servers replace what stands there, some refuse."""
        step: Commands = yield Commands(self.session, new, f"RNFR {name(old)}", f"RNTO {name(new)}")
        error = step.failed()
        if error is None and step.code // 100 == 2:
            return
        if error is None:  # libcurl minds refusals only
            raise ServerFault(f"not renamed: {step.replies[-1].text}", url=step.url, host=self.session.host)
        if step.code in UNKNOWN:
            raise CannotRename(f"the server cannot rename: {error.message}", url=step.url)
        if step.code in (550, 553):
            error = perhaps(self.existing(error), "exists")
            error.message = f"the server refused to rename the file once it was whole: {error.message}"
            error.hint = "temporary_names = none in the site's section sends files under their own names"
        raise error

    def unlink(self, path: str) -> Steps[None]:
        """DELE."""
        yield from self._alone(path, f"*DELE {name(path).rstrip('/')}")

    def _alone(self, path: str, command: str) -> Steps[None]:
        (answer,), url = yield from self._answers(path, command)
        if answer.code >= 300:
            raise self.refusal(answer, url, "directory")

    # -- directories -------------------------------------------------------------------------------

    def make(self, path: str) -> Steps[bool]:
        """MKD, and where that is refused a look at what stands there."""
        (answer,), url = yield from self._answers(path, f"*MKD {name(path).rstrip('/')}")
        if answer.code < 300:
            return True
        found = yield from self.stat(path)
        if found.directory is False:
            raise self.existing(self.refusal(answer, url, "exists"))
        return False

    def rmdir(self, path: str) -> Steps[None]:
        """RMD."""
        yield from self._alone(path, f"*RMD {name(path).rstrip('/')}")

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """MLSD, or LIST where the server has only that, which shows a file as well."""
        known = self.session.facts
        listing: Listing = yield Listing(self.session, path, PAGE)
        if (error := listing.failed()) is not None:
            if known and listing.code in (500, 502, 504):
                self.session.facts = False
                return (yield from self.scan(path, more))
            if listing.code // 100 != 5 or (yield from self.stat(path)).directory is not False:
                raise error
            raise NotFound("a file, not a directory", url=listing.url)
        page, itself = lines(listing)
        if listing.method != "MLSD" and not itself and (yield from self.stat(path)).directory is False:
            raise NotFound("a file, not a directory", url=listing.url)
        return page

    def free(self, path: str) -> Steps[int | None]:
        """What AVBL tells, where the server knows it."""
        (answer,), _ = yield from self._answers(path, f"*AVBL {name(parent(path)) or '.'}")
        return answer.size


def lines(listing: Listing) -> tuple[Page, bool]:
    """What is in a directory, and whether "." was in it, as in every directory's (but MLSD's)."""
    text = bytes(listing.body).decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    read = _facts if listing.method == "MLSD" else _listed
    found: list[Found] = []
    itself, wrong = False, None
    for line in text.split("\n"):
        one = read(line)
        if one is None or "/" in one.name or not one.name:
            if line and not _TOTAL.fullmatch(line):
                wrong = _not_understood(line, listing)
        elif one.name in (".", ".."):
            itself = itself or one.name == "."
        else:
            found.append(one._replace(name=quote(one.name, safe="", errors="surrogateescape")))
    return Page(found, wrong=wrong), itself


def _not_understood(line: str, listing: FtpExchange) -> TransferError:
    text = f"the listing has a line that is not understood: {line[:120]!r}"
    return Unsupported(text, url=listing.url, host=listing.session.host, hint="name its files one by one")


def _facts(line: str) -> Found | None:
    """A line of MLSD, or of MLST; ``None`` for what is none."""
    told = facts.read(line)
    if told is None:
        return None
    if told.kind in ("cdir", "pdir"):
        return Found("." if told.kind == "cdir" else "..", True)
    size = None if told.directory else told.size
    return Found(told.name, told.directory, size, modified=told.modified, link=bool(told.link))


def _listed(line: str) -> Found | None:
    """A line of LIST, as Unix or as Windows writes it; ``None`` for what is none."""
    unix = _UNIX.fullmatch(line)
    if unix is not None:
        kind, size, rest = unix.groups()
        if kind == "l":
            return Found(rest.rpartition(" -> ")[0], None, link=True)
        if kind != "-":
            return Found(rest, kind == "d")
        return None if (told := number(size)) is None else Found(rest, False, told)
    dos = _DOS.fullmatch(line)
    if dos is None:
        return None
    told = number(dos[1])
    return Found(dos[2], told is None, told) if told is not None or dos[1] == "<DIR>" else None
