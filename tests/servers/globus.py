"""A stand-in for Globus' Transfer and Auth services on loopback (the real ones exist only at globus.org).

It speaks their wire protocol to the unmodified library, which ``GLOBUS_SDK_SERVICE_URL_TRANSFER`` and
``_AUTH`` point to it. Collections are directories here; tasks really move, compare and remove files.
``faults`` has it refuse, pause and hold tasks as the real service does.
"""

# ruff: noqa: PTH102, PTH103, PTH104, PTH108, PTH112, PTH113, PTH114, PTH116, PTH119, PTH120

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest

Document = dict[str, Any]


class Refused(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, code: str, message: str = "refused", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.document = {"code": code, "message": message, "request_id": "x", "resource": "/", **more}


class Failed(Exception):
    """The end of a task."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class Faults:
    """What goes wrong: ``refuse`` by the path's first word; ``event`` with which tasks stay active;
    ``hold``: tasks wait until it is set; ``quota``: bytes that a destination file may have, at most."""

    def __init__(self) -> None:
        self.refuse: dict[str, list[Refused]] = {}
        self.event: tuple[str, str] | None = None
        self.paused = ""
        self.quota: int | None = None
        self.hold: threading.Event | None = None
        self.tokens: set[str] = set()  # that are taken; all others are refused, unless it is empty
        self.closed = ""  # a directory in which nothing may be written


class Service:
    """The state of the stand-in."""

    def __init__(self) -> None:
        self.collections: dict[str, Path] = {}
        self.tasks: dict[str, Document] = {}
        self.documents: dict[str, Document] = {}
        self.submissions: dict[str, str] = {}
        self.events: dict[str, list[Document]] = {}
        self.skipped: dict[str, list[Document]] = {}
        self.requests: list[str] = []
        self.began = threading.Event()  # a task was taken
        self.cancelled = threading.Event()
        self.faults = Faults()
        self._lock = threading.Lock()

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]

    def root(self, collection: str) -> Path:
        if collection not in self.collections:
            raise Refused(404, "EndpointNotFound", f"No such endpoint '{collection}'")
        return self.collections[collection]

    def real(self, collection: str, path: str) -> str:
        """Where a path of a collection is on this machine."""
        root = os.path.realpath(self.root(collection))
        found = f"{root}/{path.removeprefix('/~').lstrip('/')}".rstrip("/")
        if not f"{os.path.realpath(found)}/".startswith(root + "/"):
            raise Refused(403, "ExternalError.PermissionDenied", "Path not allowed")
        return found

    # -- tasks ---------------------------------------------------------------------------------------

    def submit(self, kind: str, document: Document) -> Document:
        submission = document["submission_id"]
        with self._lock:
            known = self.submissions.get(submission)
            task = known or str(uuid.uuid4())
            self.submissions[submission] = task
        code = "Duplicate" if known else "Accepted"
        if not known:
            for key in ("source_endpoint", "destination_endpoint", "endpoint"):
                if key in document:
                    self.root(document[key])
            self.documents[task], self.events[task], self.skipped[task] = document, [], []
            self.tasks[task] = {
                "DATA_TYPE": "task", "task_id": task, "type": kind.upper(), "status": "ACTIVE", "faults": 0,
                "nice_status": "OK", "bytes_transferred": 0, "is_paused": False, "fatal_error": None,
                "subtasks_skipped_errors": 0,
            }  # fmt: skip
            threading.Thread(target=self._run, args=(task,), daemon=True).start()
            self.began.set()
        return {"DATA_TYPE": f"{kind}_result", "code": code, "task_id": task, "submission_id": submission}

    def resume(self) -> None:
        """Tasks that were in trouble go on."""
        for name, task in self.tasks.items():
            if task["status"] == "ACTIVE":
                self._run(name)

    def _run(self, name: str) -> None:
        task, document, faults = self.tasks[name], self.documents[name], self.faults
        if faults.paused:
            task.update(is_paused=True, nice_status="PAUSED_BY_ADMIN")
            return
        if faults.event is not None:
            code, words = faults.event
            self.events[name].append({"code": code, "is_error": True, "details": words, "description": code})
            task.update(faults=1)
            return
        if faults.hold is not None and document["DATA_TYPE"] == "transfer":
            faults.hold.wait(30)
        if task["status"] != "ACTIVE":
            return
        try:
            carry = self._delete if document["DATA_TYPE"] == "delete" else self._move
            for item in document["DATA"]:
                carry(name, document, item)
        except (Failed, Refused) as error:
            code = error.code if isinstance(error, Failed) else "PERMISSION_DENIED"
            task.update(status="FAILED", nice_status=code)
            task["fatal_error"] = {"code": code, "description": str(error)}
        else:
            task.update(status="SUCCEEDED", nice_status=None)

    def _move(self, name: str, document: Document, item: Document) -> None:
        source = self.real(document["source_endpoint"], item["source_path"])
        target = self.real(document["destination_endpoint"], item["destination_path"])
        if os.path.isdir(source):
            raise Failed("IS_A_DIRECTORY", f"{item['source_path']} is a directory")
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            code = (
                "FILE_NOT_FOUND"
                if isinstance(error, (FileNotFoundError, NotADirectoryError))
                else "PERMISSION_DENIED"
            )
            if not document.get("skip_source_errors"):
                raise Failed(code, f"{item['source_path']}") from error
            self.tasks[name]["subtasks_skipped_errors"] += 1
            self.skipped[name].append(
                {"error_code": code, "error_details": f"Error: {code.lower()}", "is_directory": False,
                 "source_path": item["source_path"], "destination_path": item["destination_path"]}
            )  # fmt: skip
            return
        if self.faults.quota is not None and len(content) > self.faults.quota:
            raise Failed("QUOTA_EXCEEDED", "Disk quota exceeded")
        if (known := item.get("external_checksum")) is not None:
            algorithm = item.get("checksum_algorithm", "MD5").lower()
            if hashlib.new(algorithm, content).hexdigest() != known:
                raise Failed("VERIFY_CHECKSUM", f"checksum of {item['source_path']} does not match")
        if self.faults.closed and target.startswith(self.faults.closed):
            raise Failed("PERMISSION_DENIED", f"{item['destination_path']}: no permission")
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            Path(target).write_bytes(content)
        except OSError as error:
            raise Failed("PERMISSION_DENIED", f"{item['destination_path']}: {error.strerror}") from error
        self.tasks[name]["bytes_transferred"] += len(content)

    def _delete(self, name: str, document: Document, item: Document) -> None:
        path = self.real(document["endpoint"], item["path"])
        if not os.path.lexists(path):
            if not document.get("ignore_missing"):
                raise Failed("FILE_NOT_FOUND", item["path"])
        elif os.path.isdir(path) and not os.path.islink(path):
            if not document.get("recursive"):
                raise Failed("IS_A_DIRECTORY", item["path"])
            shutil.rmtree(path)
        else:
            os.unlink(path)

    # -- requests --------------------------------------------------------------------------------------

    def route(self, method: str, path: list[str], query: dict[str, str], body: Document) -> Document:
        for refused in self.faults.refuse.get(path[0], [])[:1]:
            self.faults.refuse[path[0]].remove(refused)
            raise refused
        match path:
            case ["submission_id"]:
                return {"DATA_TYPE": "submission_id", "value": str(uuid.uuid4())}
            case ["transfer" | "delete" as kind]:
                return self.submit(kind, body)
            case ["task", name, *rest]:
                if name not in self.tasks:
                    raise Refused(404, "TaskNotFound", "no such task")
                return self._of_task(name, rest)
            case ["endpoint", _, "autoactivate"]:  # which older clients ask for
                return {"DATA_TYPE": "activation_result", "code": "AlreadyActivated.NotSupported"}
            case ["operation", "endpoint", collection, verb]:
                return self._operation(collection, verb, {**query, **body})
        raise Refused(404, "ClientError.NotFound", f"no such resource {method} {'/'.join(path)}")

    def _of_task(self, name: str, rest: list[str]) -> Document:
        task = self.tasks[name]
        match rest:
            case []:
                return task
            case ["cancel"]:
                if task["status"] == "ACTIVE":
                    task.update(status="FAILED", nice_status="CANCELED")
                    self.cancelled.set()
                return {"DATA_TYPE": "result", "code": "Canceled"}
            case ["event_list"]:
                return {"DATA_TYPE": "event_list", "DATA": self.events[name], "total": len(self.events[name])}
            case ["skipped_errors"]:
                return {"DATA_TYPE": "skipped_errors", "DATA": self.skipped[name], "next_marker": None}
            case ["pause_info"]:
                return {"DATA_TYPE": "pause_info_limited", "pause_rules": [{"message": self.faults.paused}]}
        raise Refused(404, "ClientError.NotFound", "no such resource")

    def _operation(self, collection: str, verb: str, told: dict[str, str]) -> Document:
        try:
            match verb:
                case "stat":
                    return _entry(self.real(collection, told["path"]))
                case "ls":
                    return self._list(self.real(collection, told["path"]), told)
                case "mkdir":
                    os.mkdir(self.real(collection, told["path"]))
                    return {"DATA_TYPE": "mkdir_result", "code": "DirectoryCreated"}
                case "rename":
                    old, new = (
                        self.real(collection, told["old_path"]),
                        self.real(collection, told["new_path"]),
                    )
                    os.lstat(old)
                    if os.path.lexists(new):
                        raise FileExistsError(new)
                    os.rename(old, new)
                    return {"DATA_TYPE": "result", "code": "FileRenamed"}
        except FileExistsError as error:
            raise Refused(502, f"ExternalError.{verb.title()}Failed.Exists", "Path already exists") from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise Refused(404, "ClientError.NotFound", "No such file or directory") from error
        except OSError as error:
            raise Refused(403, "ExternalError.PermissionDenied", "Permission denied") from error
        raise Refused(404, "ClientError.NotFound", "no such operation")

    def _list(self, path: str, told: dict[str, str]) -> Document:
        names = sorted(os.listdir(path))
        offset, limit = int(told.get("offset", 0)), int(told.get("limit", 100_000))
        found = [_entry(f"{path}/{name}") for name in names[offset : offset + limit]]
        return {"DATA_TYPE": "file_list", "DATA": found, "length": len(found), "total": len(names)}


def _entry(path: str) -> Document:
    info = os.stat(path)
    told = time.strftime("%Y-%m-%d %H:%M:%S+00:00", time.gmtime(info.st_mtime))
    kind = "dir" if os.path.isdir(path) else "file" if os.path.isfile(path) else "unknown"
    return {
        "DATA_TYPE": "file", "name": os.path.basename(path), "type": kind, "size": info.st_size,
        "last_modified": told,
    }  # fmt: skip


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            service.requests.append(f"{self.command} {parts.path}")
            try:
                path = parts.path.strip("/").removeprefix("v0.10/").split("/")
                if path[-2:] == ["oauth2", "token"]:
                    document, status = self._token(dict(parse_qsl(body.decode()))), 200
                else:
                    self._let_in()
                    query = dict(parse_qsl(parts.query))
                    document, status = (
                        service.route(self.command, path, query, json.loads(body or b"{}")),
                        200,
                    )
            except Refused as refused:
                document, status = refused.document, refused.status
            text = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _token(self, form: dict[str, str]) -> Document:
            if form.get("refresh_token") == "revoked" or "token" in service.faults.refuse:
                raise Refused(400, "Error", "Malformed", error="invalid_grant")
            token = f"token-{uuid.uuid4().hex}"
            service.faults.tokens.add(token)
            return {
                "access_token": token, "resource_server": "transfer.api.globus.org", "expires_in": 172800,
                "scope": "urn:globus:auth:scope:transfer.api.globus.org:all", "token_type": "Bearer",
                "refresh_token": form.get("refresh_token"), "other_tokens": [],
            }  # fmt: skip

        def _let_in(self) -> None:
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if not token or (service.faults.tokens and token not in service.faults.tokens):
                raise Refused(401, "AuthenticationFailed", "Token is not active")

        do_GET = do_POST = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    return Handler


class Globus(NamedTuple):
    """A running stand-in."""

    service: Service
    url: str

    @property
    def environ(self) -> dict[str, str]:
        """What points the library to it."""
        return {"GLOBUS_SDK_SERVICE_URL_TRANSFER": self.url, "GLOBUS_SDK_SERVICE_URL_AUTH": self.url}

    def collection(self, root: Path) -> str:
        """A new one that serves that directory."""
        root.mkdir(parents=True, exist_ok=True)
        name = str(uuid.uuid4())
        self.service.collections[name] = root
        return name

    def conf(
        self, path: Path, local: Path | None = None, login: str = "transfer_rt = refresh-secret"
    ) -> Path:
        """A globus.conf; with a local collection that serves ``local``."""
        text = f"[oauth]\nclient_id = {uuid.uuid4()}\n{login}\n"
        if local is not None:
            text += f"[local]\ncollection = {self.collection(local)}\ndirectory = {local}\n"
        path.touch(mode=0o600)
        path.write_text(text)
        return path


@contextmanager
def serve() -> Iterator[Globus]:
    """Runs one, in threads of this process."""
    service = Service()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(service))
    server.daemon_threads = True
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]  who was killed
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield Globus(service, f"http://127.0.0.1:{server.server_address[1]}/")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def globus() -> Iterator[Globus]:
    with serve() as server:
        yield server
