"""Servers that repeat a secret in their answers: it stands in no log, report or exception."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer import Engine, Options, Outcome, Progress, Settings, load, redact
from tests.command import run, write

SECRET = "CANARY+secret/value=="


class Echo(BaseHTTPRequestHandler):
    """Refuses all, with the request's own words."""

    def do_GET(self) -> None:
        said = f"{self.headers['X-Token']} {self.headers['Authorization']} {self.path}"
        self.send_response(403, f"no access with {said}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def credentials(tmp_path: Path, section: str) -> str:
    path = tmp_path / "credentials.conf"
    path.touch(mode=0o600)
    path.write_text(section)
    return str(path)


def spec(tmp_path: Path, source: str) -> Path:
    place = {"site_label": "x", "url": source}
    return write(tmp_path / "s", [{
        "type": "transfer", "src_urls": [place], "dest_urls": [{"site_label": "l", "url": f"{tmp_path}/o"}],
    }])  # fmt: skip


SECTIONS = {
    "header": f"header.X-Token = {SECRET}",
    "token": f"token = {SECRET}",
    "password": f"username = me\npassword = {SECRET}\nallow_plain_password = yes",
}


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("mode", [("-d",), ("--check",), ("--dry-run",)])
def test_in_log_and_report(tmp_path: Path, echo: str, section: str, mode: tuple[str, ...]) -> None:
    env = {"PEGASUS_CREDENTIALS": credentials(tmp_path, f"[http://{echo}]\n{SECTIONS[section]}\n")}
    report = () if "--check" in mode else ("--report", "r")
    done = run("-f", spec(tmp_path, f"http://{echo}/f"), "-m", "1", *mode, *report, cwd=tmp_path, env=env)
    texts = done.stdout + done.stderr + ((tmp_path / "r").read_text() if report else "")
    if mode != ("--dry-run",):
        assert "no access with" in texts
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    for form in (SECRET, basic, quote(SECRET, safe=""), SECRET[:-2]):
        assert form not in texts


def test_what_a_signed_url_holds(tmp_path: Path, echo: str) -> None:
    signed = f"http://{echo}/f?X-Amz-Signature=CANARYsignature&name=x"
    done = run("-f", spec(tmp_path, signed), "-m", "1", "-d", "--report", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "CANARY" not in done.stderr + (tmp_path / "r").read_text()


class Recorder:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def settled(self, outcomes: list[Outcome]) -> None:
        self.outcomes += outcomes

    def tick(self, progress: Progress) -> None:
        pass


def test_in_the_exceptions_of_the_python_api(tmp_path: Path, echo: str) -> None:
    path = credentials(tmp_path, f"[http://{echo}]\nheader.X-Token = {SECRET}\n")
    settings, recorder = Settings(Credentials.load({"PEGASUS_CREDENTIALS": path})), Recorder()
    operations = load(str(spec(tmp_path, f"http://{echo}/f")), {})
    Engine(Options(attempts=1), settings, [recorder]).run(operations)  # type: ignore[list-item]
    (outcome,) = recorder.outcomes
    errors = [outcome.error, *(attempt.error for attempt in outcome.attempts)]
    assert all(error is not None and "***" in str(error) for error in errors)
    assert not any(SECRET in f"{error!s} {error!r} {vars(error)}" for error in errors)


class TestMask:
    def mask(self, environ: dict[str, str]) -> Credentials:
        return Credentials.load(environ)

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", SECRET),
            ("BEARER_TOKEN", SECRET),
            ("BEARER_TOKEN_site", SECRET),
            ("https_proxy", f"http://user:{quote(SECRET, safe='')}@proxy:3128"),
        ],
    )
    def test_of_the_environment(self, variable: str, value: str) -> None:
        told = self.mask({variable: value}).mask(f"a {value} {SECRET if '%' not in value else ''} b")
        assert "CANARY" not in told

    def test_files_and_short_words_stay(self) -> None:
        known = self.mask({"BEARER_TOKEN_FILE": "/run/token", "BEARER_TOKEN": "abc"})
        assert known.mask("/run/token abc") == "/run/token abc"

    def test_as_json_writes_it(self) -> None:
        secret = 'quo"te\\and'
        assert self.mask({"BEARER_TOKEN": secret}).mask(json.dumps({"said": secret})) == '{"said": "***"}'

    def test_an_answer_that_was_cut_in_the_middle_of_it(self) -> None:
        known = self.mask({"BEARER_TOKEN": SECRET})
        for length in range(8, len(SECRET)):
            assert known.mask(f"no access with {SECRET[:length]}") == "no access with ***"
        assert known.mask(f"{SECRET} and {SECRET[:9]}") == "*** and ***"
        assert known.mask("about a CANARY") == "about a CANARY"

    def test_what_is_hidden_of_a_url_is_known(self) -> None:
        assert redact.hidden("https://u:pw@h/a?sig=S1&b=2#token=T") == ["pw", "S1", "T"]
        assert redact.hidden("https://h/a?b=2") == []
        assert redact.hidden("/a?sig=b@c") == []
