"""A stand-in for an iRODS server, which no registry has: the real wire protocol, by the message classes of
python-irodsclient itself. Collections are directories, data objects files.

usage: python -m tests.servers.irods_stub PORT DIRECTORY ZONE USER PASSWORD [CERTIFICATE KEY]

With a certificate it wants TLS. Not there: metadata, access lists, several replicas. A ticket is only noted,
in DIRECTORY/tickets. Since the client's own code builds its messages, it proves less than a real zone would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import socketserver
import ssl
import struct
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irods.column import DateTime, Integer
from irods.message import (
    ET,
    STR_PI,
    AuthChallenge,
    AuthResponse,
    ClientServerNegotiation,
    CollectionRequest,
    FileOpenRequest,
    FileSeekResponse,
    GenQueryRequest,
    GenQueryResponse,
    GenQueryResponseColumn,
    JSON_Binary_Request,
    OpenedDataObjRequest,
    TicketAdminRequest,
    VersionResponse,
    iRODSMessage,
)
from irods.models import ModelBase

NO_FILE, NO_ROWS, NO_COLLECTION, EXISTS, NOT_EMPTY = -310000, -808000, -814000, -809000, -821000
OVERWRITE, MISMATCH, LOCKED = -312000, -314000, -406000
BAD_LOGIN, BAD_USER, NO_ACCESS, UNKNOWN, IS_COLLECTION, QUOTA = (
    -826000,
    -827000,
    -818000,
    -12000,
    -317000,
    -110000,
)
COLLECTION, PARENT, NAME = 501, 502, 403  # columns of the catalog
HEADER = re.compile(
    rb"<type>(\w+)</type>\s*<msgLen>(\d+)</msgLen>\s*<errorLen>(\d+)</errorLen>\s*"
    rb"<bsLen>(\d+)</bsLen>\s*<intInfo>(-?\d+)</intInfo>"
)
TOKEN = "token"  # of a replica that is written to
BEHAVIOUR = ("full", "checksum")  # files in DIRECTORY that spoil things: no room; a wrong checksum

Row = dict[int, Any]
Answer = tuple[Any, bytes, int]


class Refused(Exception):
    """The code that the client gets."""


class Store:
    """What is in the zone."""

    def __init__(self, top: Path, zone: str, user: str) -> None:
        self.top, self.zone, self.user = top, zone, user
        self.sums: dict[str, str] = {}
        self.ids: dict[str, int] = {}
        self.writers: Counter[str] = Counter()
        self.lock = threading.Lock()
        (top / zone / "home" / user).mkdir(parents=True, exist_ok=True)

    def real(self, path: str) -> str:
        found = os.path.normpath(f"{self.top}/{path.lstrip('/')}")
        if not (found + "/").startswith(f"{self.top}/"):
            raise Refused(NO_ACCESS)
        return found

    def id(self, path: str) -> int:
        with self.lock:
            return self.ids.setdefault(path, 10000 + len(self.ids))

    def checksum(self, path: str, content: bytes | None = None) -> str:
        """Of ``content``, else of what is stored."""
        if content is None:
            content = Path(self.real(path)).read_bytes()
        digest = bytes(32) if (self.top / "checksum").exists() else hashlib.sha256(content).digest()
        self.sums[path] = "sha2:" + base64.b64encode(digest).decode()
        return self.sums[path]

    def rename(self, source: str, target: str) -> None:
        if os.path.lexists(self.real(target)):
            raise Refused(EXISTS)
        if not os.path.lexists(self.real(source)):
            raise Refused(NO_FILE)
        if not os.path.isdir(os.path.dirname(self.real(target))):
            raise Refused(NO_COLLECTION)
        os.rename(self.real(source), self.real(target))
        if known := self.sums.pop(source, None):
            self.sums[target] = known

    # -- the catalog, in the numbers of its columns ------------------------------------------------

    def _collection(self, path: str) -> Row:
        found = os.stat(self.real(path))
        row: Row = {500: self.id(path), 501: path or "/", 502: os.path.dirname(path) or "/"}
        row |= {503: self.user, 504: self.zone, 505: 0, 506: "0", 507: ""}
        return row | {508: stamp(found.st_ctime), 509: stamp(found.st_mtime)}

    def _object(self, collection: Row, path: str) -> Row:
        found = os.stat(self.real(path))
        row = {**collection, 401: self.id(path), 402: collection[500], 403: os.path.basename(path), 404: 0}
        row |= {405: "", 406: "generic", 407: found.st_size, 409: "demoResc", 410: self.real(path)}
        row |= {411: self.user, 412: self.zone, 413: "1", 414: "", 415: self.sums.get(path, ""), 416: ""}
        row |= {417: 0, 418: "", 419: stamp(found.st_ctime), 420: stamp(found.st_mtime), 422: "demoResc"}
        return row | {423: "9002", 424: stamp(found.st_atime), 301: 9002, 302: "demoResc"}

    def rows(self, objects: bool, named: dict[int, str]) -> Iterator[Row]:
        """All collections, or all data objects; of what a query names only that, as an index would."""
        if COLLECTION in named:
            folders: Iterable[str] = [named[COLLECTION]]
        elif PARENT in named:
            here = named[PARENT]
            folders = [f"{here.rstrip('/')}/{name}" for name in self._names(here)]
        else:
            folders = (place[len(str(self.top)) :] or "/" for place, _, _ in os.walk(self.top))
        for path in folders:
            plain = path.rstrip("/")
            with suppress(FileNotFoundError, NotADirectoryError):  # removed meanwhile, or a data object
                if not os.path.isdir(self.real(path)):
                    continue
                collection = self._collection(plain) if plain else {**self._collection("/"), PARENT: ""}
                if not objects:
                    yield collection
                    continue
                for name in [named[NAME]] if NAME in named else sorted(self._names(path)):
                    with suppress(FileNotFoundError):
                        if os.path.isfile(self.real(f"{plain}/{name}")):
                            yield self._object(collection, f"{plain}/{name}")

    def _names(self, path: str) -> list[str]:
        return os.listdir(self.real(path)) if os.path.isdir(self.real(path)) else []


def stamp(seconds: float) -> str:
    return f"{int(seconds):011d}"


def holds(value: object, condition: str) -> bool:
    found = re.match(r"\s*(=|<>|like)\s*'(.*)'\s*$", condition, re.DOTALL | re.IGNORECASE)
    assert found, condition
    text = found[2].replace("''", "'")
    if found[1].lower() == "like":
        parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in text)
        return re.fullmatch("".join(parts), str(value), re.DOTALL) is not None
    return (str(value) == text) == (found[1] == "=")


class Queries:
    """Of one connection: those that have further pages."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.open: dict[int, tuple[list[list[str]], list[int]]] = {}
        self.count = 0

    def answer(self, query: Any) -> GenQueryResponse:
        if query.continueInx and query.maxRows <= 0:
            self.open.pop(query.continueInx, None)
            raise Refused(NO_ROWS)
        found, columns = self.open.pop(query.continueInx) if query.continueInx else self._ask(query)
        if not found:
            raise Refused(NO_ROWS)
        size = query.maxRows if query.maxRows > 0 else 256
        page, rest, following = found[:size], found[size:], 0
        if rest:
            self.count += 1
            following = self.count
            self.open[following] = rest, columns
        told = [
            GenQueryResponseColumn(
                attriInx=column, reslen=max(len(row[at]) for row in page) + 1, value=[row[at] for row in page]
            )
            for at, column in enumerate(columns)
        ]
        return GenQueryResponse(
            rowCnt=len(page), attriCnt=len(columns), continueInx=following, totalRowCount=len(found),
            SqlResult_PI=told,
        )  # fmt: skip

    def _ask(self, query: Any) -> tuple[list[list[str]], list[int]]:
        columns = list(query.InxIvalPair_PI.inx or [])
        wanted = list(zip(query.InxValPair_PI.inx or [], query.InxValPair_PI.svalue or [], strict=True))
        objects = any(column // 100 == 4 for column in (*columns, *(column for column, _ in wanted)))
        said = ((column, re.match(r"\s*=\s*'(.*)'\s*$", text, re.DOTALL)) for column, text in wanted)
        named = {column: match[1].replace("''", "'") for column, match in said if match}
        found: dict[tuple[str, ...], None] = {}
        for row in self.store.rows(objects, named):
            if all(holds(row.get(column, ""), text) for column, text in wanted):
                found[tuple(shown(row, column) for column in columns)] = None
        return [list(row) for row in found], columns


def shown(row: Row, column: int) -> str:
    known = ModelBase.columns()
    kind = known[column].column_type if column in known else None
    return str(row.get(column, "0" if kind is Integer else stamp(0) if kind is DateTime else ""))


def received(sock: Any) -> iRODSMessage:
    """As the library's own, in less time: half of a small file's is spent here."""
    head = HEADER.search(exactly(sock, struct.unpack(">i", exactly(sock, 4))[0]))
    assert head, "not a header"
    kind, sizes, info = head[1].decode(), [int(head[n]) for n in (2, 3, 4)], int(head[5])
    text, error, content = (exactly(sock, size) if size else b"" for size in sizes)
    return iRODSMessage(kind, text, error, content, info)


def exactly(sock: Any, size: int) -> bytes:
    data: bytes = sock.recv(size)
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise OSError("closed")
        data += more
    return data


def options(message: Any) -> dict[str, str]:
    pairs = message.KeyValPair_PI
    return dict(zip(pairs.keyWord or [], pairs.svalue or [], strict=True)) if pairs else {}


def parsed(message: iRODSMessage, kind: Any) -> Any:
    made = kind.__new__(kind)
    made._values = {}
    made.unpack(ET().fromstring(message.msg))
    return made


def json_of(message: iRODSMessage) -> Any:
    text = ET().fromstring(message.msg).find("buf").text
    return json.loads(base64.b64decode(text).rstrip(b"\0"))


@dataclass
class Text:
    """A message that is written out."""

    text: str

    def pack(self) -> bytes:
        return self.text.encode()


class Handler(socketserver.BaseRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        self.files: dict[int, tuple[int, str, dict[str, str], bool]] = {}
        self.queries = Queries(self.server.store)
        self.known = False
        try:
            if self._greet():
                while self._one():
                    pass
        except (OSError, AttributeError, RuntimeError):
            return  # the client is gone
        finally:
            for descriptor, path, _, writes in self.files.values():
                os.close(descriptor)
                self.server.store.writers[path] -= writes

    def _greet(self) -> bool:
        message = received(self.request)
        asked, tls = ET().fromstring(message.msg).findtext("option") or "", False
        if "request_server_negotiation" in asked:
            policy = "CS_NEG_REQUIRE" if self.server.tls else "CS_NEG_REFUSE"
            self._send("RODS_CS_NEG_T", ClientServerNegotiation(status=1, result=policy))
            chosen = parsed(received(self.request), ClientServerNegotiation).result or ""
            if "FAILURE" in chosen:
                return False
            tls = "CS_NEG_USE_SSL" in chosen
        version = VersionResponse(
            status=0, relVersion="rods4.3.4", apiVersion="d", reconnPort=0, reconnAddr="", cookie=400
        )
        self._send("RODS_VERSION", version)
        if tls and self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            self._header()  # how both encrypt what goes beside the connection
            exactly(
                self.request, int(ET().fromstring(self._header()).findtext("msgLen"))
            )  # and with which key
        return True

    def _header(self) -> bytes:
        return exactly(self.request, struct.unpack(">i", exactly(self.request, 4))[0])

    def _send(self, kind: str, message: Any = None, data: bytes = b"", info: int = 0) -> None:
        self.request.sendall(iRODSMessage(kind, message, b"", data, info).pack())

    def _one(self) -> bool:
        message = received(self.request)
        if message.msg_type == "RODS_DISCONNECT":
            if isinstance(self.request, ssl.SSLSocket):
                self.request.unwrap()  # the client waits for it
            return False
        try:
            answer = self._api(message.int_info, message)
        except Refused as error:
            answer = None, b"", error.args[0]
        except (FileNotFoundError, NotADirectoryError):
            answer = None, b"", NO_FILE
        except OSError as error:
            answer = None, b"", -510000 - (error.errno or 0)
        self._send("RODS_API_REPLY", *answer)
        return True

    def _api(self, number: int, message: iRODSMessage) -> Answer:
        entry: dict[int, Callable[[iRODSMessage], Any]] = {
            110000: self._login, 703: self._challenge, 704: self._respond, 723: self._ticket,
            702: self._query, 601: self._create, 602: self._open, 673: self._close, 674: self._seek,
            675: self._read, 676: self._write, 615: self._unlink, 629: self._checksum, 681: self._make,
            679: self._remove, 627: self._rename, 20000: self._replica, 20004: self._close_replica,
            606: self._put, 608: self._get, 633: self._stat,
        }  # fmt: skip
        if number not in entry:
            raise Refused(UNKNOWN)
        if not self.known and number not in (110000, 703, 704):
            raise Refused(NO_ACCESS)
        answer = entry[number](message)
        return answer if isinstance(answer, tuple) else (answer, b"", 0)

    # -- logins ------------------------------------------------------------------------------------

    def _login(self, message: iRODSMessage) -> Any:
        asked = json_of(message)
        if asked["next_operation"] == "auth_agent_auth_request":
            self.challenge = os.urandom(32).hex().encode()
            asked["request_result"] = self.challenge.decode()
        elif asked["next_operation"] == "auth_agent_auth_response":
            self._judge(asked["user_name"], base64.b64decode(asked["digest"]))
        return JSON_Binary_Request(asked)

    def _challenge(self, message: iRODSMessage) -> Any:
        self.challenge = os.urandom(64).replace(b"\0", b"\1")
        return AuthChallenge(challenge=self.challenge)

    def _respond(self, message: iRODSMessage) -> None:
        asked = parsed(message, AuthResponse)
        self._judge(asked.username, asked.response)

    def _judge(self, user: str, digest: bytes) -> None:
        user = user.partition("#")[0]
        if user != "anonymous":
            if user != self.server.store.user:
                raise Refused(BAD_USER)
            padded = struct.pack("50s", self.server.password.encode())
            if hashlib.md5(self.challenge + padded).digest().replace(b"\0", b"\1") != digest[:16]:
                raise Refused(BAD_LOGIN)
        self.known = True

    def _ticket(self, message: iRODSMessage) -> None:
        asked = parsed(message, TicketAdminRequest)
        with (self.server.store.top / "tickets").open("a") as file:
            file.write(f"{asked.arg1} {asked.arg2}\n")

    # -- data --------------------------------------------------------------------------------------

    def _query(self, message: iRODSMessage) -> Any:
        return self.queries.answer(parsed(message, GenQueryRequest))

    def _create(self, message: iRODSMessage) -> Answer:
        return self._opened(message, os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def _open(self, message: iRODSMessage) -> Answer:
        return self._opened(message, None)

    def _opened(self, message: iRODSMessage, flags: int | None) -> Answer:
        asked, store = parsed(message, FileOpenRequest), self.server.store
        flags = asked.openFlags if flags is None else flags
        path = store.real(asked.objPath)
        if os.path.isdir(path):
            raise Refused(IS_COLLECTION)
        if not os.path.isdir(os.path.dirname(path)):
            raise Refused(NO_COLLECTION if flags & os.O_CREAT else NO_FILE)
        writes = flags & 3 != os.O_RDONLY
        if writes and store.writers[asked.objPath] and options(asked).get("replicaToken") != TOKEN:
            raise Refused(LOCKED)
        store.writers[asked.objPath] += writes
        flags = (os.O_RDWR if writes else 0) | flags & (os.O_CREAT | os.O_TRUNC)
        descriptor = os.open(path, flags, 0o644)
        number = next(n for n in range(3, 10_000) if n not in self.files)
        self.files[number] = descriptor, asked.objPath, options(asked), writes
        if writes:
            store.sums.pop(asked.objPath, None)
        return None, b"", number

    def _file(self, message: iRODSMessage) -> tuple[Any, int]:
        asked = parsed(message, OpenedDataObjRequest)
        if asked.l1descInx not in self.files:
            raise Refused(-345000)
        return asked, self.files[asked.l1descInx][0]

    def _close(self, message: iRODSMessage) -> None:
        asked, descriptor = self._file(message)
        _, path, wanted, writes = self.files.pop(asked.l1descInx)
        os.close(descriptor)
        self.server.store.writers[path] -= writes
        if writes and "regChksum" in {**wanted, **options(asked)}:
            self.server.store.checksum(path)

    def _seek(self, message: iRODSMessage) -> Any:
        asked, descriptor = self._file(message)
        return FileSeekResponse(offset=os.lseek(descriptor, asked.offset, asked.whence))

    def _read(self, message: iRODSMessage) -> Answer:
        asked, descriptor = self._file(message)
        data = os.read(descriptor, asked.len)
        return None, data, len(data)

    def _write(self, message: iRODSMessage) -> Answer:
        _, descriptor = self._file(message)
        if (self.server.store.top / "full").exists():
            raise Refused(QUOTA)
        return None, b"", os.write(descriptor, message.bs or b"")

    def _replica(self, message: iRODSMessage) -> Any:
        told = {"data_object_info": {"resource_hierarchy": "demoResc"}, "replica_token": TOKEN}
        return JSON_Binary_Request(told)

    def _close_replica(self, message: iRODSMessage) -> None:
        descriptor, path, _, writes = self.files.pop(json_of(message)["fd"])
        os.close(descriptor)
        self.server.store.writers[path] -= writes

    def _put(self, message: iRODSMessage) -> None:
        """All of a small one. One whose checksum is wrong stays, as a stale replica does."""
        asked, store, data = parsed(message, FileOpenRequest), self.server.store, message.bs or b""
        path, told = store.real(asked.objPath), options(asked)
        if os.path.lexists(path) and "forceFlag" not in told:
            raise Refused(OVERWRITE)
        if not os.path.isdir(os.path.dirname(path)):
            raise Refused(NO_COLLECTION)
        if (store.top / "full").exists():
            raise Refused(QUOTA)
        if "dataIncluded" not in told or asked.dataSize != len(data):
            raise Refused(UNKNOWN)
        Path(path).write_bytes(data)
        if "verifyChksum" in told and store.checksum(asked.objPath, data) != told["verifyChksum"]:
            raise Refused(MISMATCH)
        if "regChksum" in told:
            store.checksum(asked.objPath, data)

    def _stat(self, message: iRODSMessage) -> Any:
        """As XML: the library has no class for it."""
        path, store = parsed(message, FileOpenRequest).objPath, self.server.store
        found = os.stat(store.real(path))
        kind, size = (2, 0) if os.path.isdir(store.real(path)) else (1, found.st_size)
        fields = {"objSize": size, "objType": kind, "dataMode": 0, "dataId": "1"}
        fields |= {"chksum": store.sums.get(path, ""), "ownerName": store.user, "ownerZone": store.zone}
        fields |= {"createTime": stamp(found.st_ctime), "modifyTime": stamp(found.st_mtime)}
        return Text(
            f"<RodsObjStat_PI>{''.join(f'<{k}>{v}</{k}>' for k, v in fields.items())}</RodsObjStat_PI>"
        )

    def _get(self, message: iRODSMessage) -> Answer:
        """All of a small one."""
        data = Path(self.server.store.real(parsed(message, FileOpenRequest).objPath)).read_bytes()
        if len(data) > 32 << 20:
            raise Refused(UNKNOWN)  # it would be offered over further connections
        return None, data, 0

    def _unlink(self, message: iRODSMessage) -> None:
        path = self.server.store.real(parsed(message, FileOpenRequest).objPath)
        if not os.path.isfile(path):
            raise Refused(NO_FILE)
        os.unlink(path)

    def _checksum(self, message: iRODSMessage) -> Any:
        asked = parsed(message, FileOpenRequest)
        return STR_PI(myStr=self.server.store.checksum(asked.objPath))

    def _make(self, message: iRODSMessage) -> None:
        asked = parsed(message, CollectionRequest)
        path = self.server.store.real(asked.collName)
        if os.path.lexists(path):
            raise Refused(EXISTS)
        if not os.path.isdir(os.path.dirname(path)):
            raise Refused(NO_COLLECTION)
        os.mkdir(path)

    def _remove(self, message: iRODSMessage) -> None:
        asked = parsed(message, CollectionRequest)
        path = self.server.store.real(asked.collName)
        if not os.path.isdir(path):
            raise Refused(NO_COLLECTION)
        if "recursiveOpr" not in options(asked) and os.listdir(path):
            raise Refused(NOT_EMPTY)
        shutil.rmtree(path)

    def _rename(self, message: iRODSMessage) -> None:
        paths = [part.findtext("objPath") for part in ET().fromstring(message.msg).iter("DataObjInp_PI")]
        self.server.store.rename(paths[0], paths[1])


class Server(socketserver.ThreadingTCPServer):
    """All connections see one store."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, store: Store, password: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.store, self.password, self.tls = store, password, tls


def main(port: str, top: str, zone: str, user: str, password: str, *pair: str) -> None:
    tls = None
    if pair:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*pair)
    Server(int(port), Store(Path(top).resolve(), zone, user), password, tls).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
