"""A stand-in for an SRM v2.2 storage: SOAP over GSI, over one directory; no real one can be installed.

Only the negotiation is made up. It speaks the real protocol to the real client (gfal2), checks proxies,
answers requests as queued first, and names a real GridFTP server for the bytes. It runs as a process:

    python -m tests.servers.srm_stub HOSTCERT HOSTKEY CA PORT gsiftp://localhost:PORT
"""

from __future__ import annotations

import os
import re
import shutil
import socketserver
import ssl
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from tests.servers.common import free_port, listens, missing, public_directory, running
from tests.servers.gridftp import GridFtpServer

ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><SOAP-ENV:Envelope '
    'xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:srm2="http://srm.lbl.gov/StorageResourceManager"><SOAP-ENV:Body>'
    "<srm2:{name}Response><{name}Response>{body}</{name}Response></srm2:{name}Response>"
    "</SOAP-ENV:Body></SOAP-ENV:Envelope>"
)


def tag(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def status(code: str = "SRM_SUCCESS", why: str = "") -> str:
    return tag("statusCode", code) + tag("explanation", escape(why))


def code_of(error: OSError) -> str:
    """SRM's word for what the file system says."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "SRM_INVALID_PATH"
    if isinstance(error, FileExistsError):
        return "SRM_DUPLICATION_ERROR"
    if isinstance(error, PermissionError):
        return "SRM_AUTHORIZATION_FAILURE"
    return "SRM_NON_EMPTY_DIRECTORY" if error.errno == 39 else "SRM_FAILURE"


def outcome(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return status(code_of(error), os.strerror(error.errno or 0))
    return status()


def file_of(surl: str) -> str:
    found = re.match(r"srm://[^/]+(?:/srm/managerv2\?SFN=)?(/.*)$", surl, re.DOTALL)
    assert found is not None
    return found[1]


class Request:
    """What one SOAP call asks for."""

    def __init__(self, element: ET.Element) -> None:
        self.texts = [(e.tag.rpartition("}")[2], e.text or "") for e in element.iter()]

    def get(self, name: str, default: str = "") -> str:
        return next((text for key, text in self.texts if key == name and text), default)

    def surls(self, *names: str) -> list[str]:
        wanted = names or ("urlArray", "SURL", "sourceSURL", "targetSURL", "surl")
        return [text for key, text in self.texts if key in wanted and text.startswith("srm:")]


class Storage:
    """Answers calls; keeps the requests that are queued."""

    def __init__(self, turls: str) -> None:
        self.turls = turls
        self.queued: dict[str, tuple[str, list[str]]] = {}

    def answer(self, name: str, request: Request) -> str:
        if name.startswith(("srmPrepareTo", "srmBringOnline")):
            token = uuid.uuid4().hex
            self.queued[token] = (name, request.surls())
            return self._files(token, first=True)
        if name.startswith("srmStatusOf"):
            return self._files(request.get("requestToken"), first=False)
        return getattr(self, name, self._unknown)(request)

    def _unknown(self, request: Request) -> str:
        return tag("returnStatus", status("SRM_NOT_SUPPORTED"))

    def srmPing(self, request: Request) -> str:
        return tag("versionInfo", "v2.2")

    def srmGetTransferProtocols(self, request: Request) -> str:
        protocols = tag("protocolArray", tag("transferProtocol", "gsiftp"))
        return tag("returnStatus", status()) + tag("protocolInfo", protocols)

    def srmLs(self, request: Request) -> str:
        files = [file_of(surl) for surl in request.surls()]
        depth = int(request.get("numOfLevels", "1"))
        full = request.get("fullDetailedList") == "true"
        missing = all(not os.path.lexists(file) for file in files)
        details = "".join(tag("pathDetailArray", detail(file, depth, full)) for file in files)
        code = "SRM_FAILURE" if missing else "SRM_SUCCESS"
        return tag("returnStatus", status(code)) + tag("details", details)

    def srmMkdir(self, request: Request) -> str:
        return tag("returnStatus", outcome(lambda: Path(file_of(request.surls()[0])).mkdir()))

    def srmRmdir(self, request: Request) -> str:
        remove = shutil.rmtree if request.get("recursive") in ("true", "1") else os.rmdir
        return tag("returnStatus", outcome(lambda: remove(file_of(request.surls()[0]))))

    def srmMv(self, request: Request) -> str:
        old, new = (file_of(surl) for surl in request.surls("fromSURL", "toSURL"))
        if os.path.lexists(new):
            return tag("returnStatus", status("SRM_DUPLICATION_ERROR", "exists"))
        return tag("returnStatus", outcome(lambda: Path(old).rename(new)))

    def srmRm(self, request: Request) -> str:
        told = [(surl, outcome(Path(file_of(surl)).unlink)) for surl in request.surls()]
        good = all("SRM_SUCCESS" in text for _, text in told)
        return self._each(told, "SRM_SUCCESS" if good else "SRM_FAILURE")

    def srmPutDone(self, request: Request) -> str:
        return self._each([(surl, status()) for surl in request.surls()])

    srmReleaseFiles = srmAbortFiles = srmAbortRequest = srmPutDone

    @staticmethod
    def _each(told: list[tuple[str, str]], code: str = "SRM_SUCCESS") -> str:
        one = [tag("statusArray", tag("surl", escape(surl)) + tag("status", text)) for surl, text in told]
        files = tag("arrayOfFileStatuses", "".join(one)) if one else ""
        return tag("returnStatus", status(code)) + files

    def _files(self, token: str, first: bool) -> str:
        """What became of a request for places: queued at first, so that the client has to ask again."""
        name, surls = self.queued[token]
        good = 0
        files = ""
        for surl in surls:
            file = file_of(surl)
            code = put_code(file) if name == "srmPrepareToPut" else get_code(file)
            fine = code in ("SRM_SPACE_AVAILABLE", "SRM_FILE_PINNED")
            good += fine
            key = "SURL" if name == "srmPrepareToPut" else "sourceSURL"
            size = tag("fileSize", str(os.path.getsize(file))) if code == "SRM_FILE_PINNED" else ""
            turl = tag("transferURL", escape(self.turls + quote(file))) if fine and not first else ""
            queued = "SRM_REQUEST_QUEUED" if fine and first else code
            files += tag("statusArray", tag(key, escape(surl)) + size + tag("status", status(queued)) + turl)
        whole = ("SRM_REQUEST_QUEUED" if first else "SRM_SUCCESS") if good else "SRM_FAILURE"
        tail = tag("requestToken", token) + tag("arrayOfFileStatuses", files)
        return tag("returnStatus", status(whole)) + tail


def put_code(file: str) -> str:
    if os.path.lexists(file):
        return "SRM_DUPLICATION_ERROR"
    return "SRM_SPACE_AVAILABLE" if Path(file).parent.is_dir() else "SRM_INVALID_PATH"


def get_code(file: str) -> str:
    return "SRM_FILE_PINNED" if Path(file).is_file() else "SRM_INVALID_PATH"


def detail(file: str, depth: int, full: bool) -> str:
    """What srmLs tells of one file or directory."""
    if not os.path.lexists(file):
        return tag("path", escape(file)) + tag("status", status("SRM_INVALID_PATH", "no such file"))
    directory = Path(file).is_dir()
    text = tag("path", escape(file)) + tag("status", status())
    text += tag("size", "0" if directory else str(os.path.getsize(file)))
    if not directory:
        text += tag("fileStorageType", "PERMANENT") + tag("fileLocality", "ONLINE")
    text += tag("type", "DIRECTORY" if directory else "FILE")
    text += tag("ownerPermission", tag("userID", "u") + tag("mode", "RWX")) + tag("otherPermission", "RX")
    if full and not directory:
        sum_ = zlib.adler32(Path(file).read_bytes())
        text += tag("checkSumType", "ADLER32") + tag("checkSumValue", f"{sum_:08x}")
    if directory and depth > 0:
        names = sorted(os.listdir(file))
        below = [tag("pathDetailArray", detail(f"{file}/{n}", depth - 1, False)) for n in names]
        text += tag("arrayOfSubPaths", "".join(below))
    return text


class Handler(socketserver.BaseRequestHandler):
    """One connection: TLS, the letter that says what is delegated (nothing), then HTTP."""

    server: Server

    def handle(self) -> None:
        try:
            sock = self.server.context.wrap_socket(self.request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            print("handshake:", error, flush=True)
            return
        sock.settimeout(60)
        stream = sock.makefile("rb")
        try:
            if stream.read(1) == b"0":
                while stream.readline():
                    sock.sendall(self._reply(stream))
        except OSError:
            return

    def _reply(self, stream: object) -> bytes:
        assert hasattr(stream, "readline") and hasattr(stream, "read")
        length = 0
        while line := stream.readline().strip():
            key, _, value = line.partition(b":")
            if key.lower() == b"content-length":
                length = int(value)
        envelope = ET.fromstring(stream.read(length).decode())
        call = next(element for element in envelope if element.tag.endswith("}Body"))[0]
        name = call.tag.partition("}")[2]
        body = ENVELOPE.format(name=name, body=self.server.storage.answer(name, Request(call))).encode()
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nConnection: keep-alive\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, context: ssl.SSLContext, storage: Storage) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.context = context
        self.storage = storage


def main(certificate: str, key: str, authority: str, port: str, turls: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # all that GSI knows
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    Server(int(port), context, Storage(turls)).serve_forever()


class SrmStub(NamedTuple):
    """``gridftp``: where the bytes go; its ``data`` is what the storage holds."""

    port: int
    gridftp: GridFtpServer

    @property
    def authority(self) -> str:
        return f"localhost:{self.port}"


@contextmanager
def serving(gridftp: GridFtpServer) -> Iterator[SrmStub]:
    grid, port = gridftp.grid, free_port()
    argv = [sys.executable, "-m", "tests.servers.srm_stub", str(grid.host_cert), str(grid.host_key)]
    argv += [str(grid.certificates / "ca.pem"), str(port), f"gsiftp://{gridftp.authority}"]
    top = Path(__file__).parents[2]
    with (
        public_directory("srm-") as home,
        running(argv, home / "output.log", lambda: listens(port), cwd=top),
    ):
        yield SrmStub(port, gridftp)


def gfal2() -> None:
    """The client: Debian's module is for Debian's own Python only."""
    argv = ["/usr/bin/python3", "-c", "import gfal2"]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        missing("gfal2 is not installed")


@pytest.fixture(scope="session")
def srm(gridftp: GridFtpServer) -> Iterator[SrmStub]:
    gfal2()
    with serving(gridftp) as server:
        yield server


if __name__ == "__main__":
    main(*sys.argv[1:])
