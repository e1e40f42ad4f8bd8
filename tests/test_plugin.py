"""The file-transfer plugin, run as HTCondor runs it, with real servers."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import environment
from tests.material import content, settle, sha256
from tests.s3_world import Service, get
from tests.servers.common import free_port
from tests.servers.nginx import TOKEN, Nginx
from tests.servers.odd_http import Answer, Odd, Reply, Request
from tests.servers.webdav import Dav

if sys.platform != "linux":
    pytest.skip("HTCondor's library is there for Linux alone", allow_module_level=True)

import classad2

PROGRAM = str(Path(sysconfig.get_path("scripts")) / "pegasus-transfer-plugin")
ROOM = b" " * 16384  # what HTCondor fills the answer's file with beforehand


class Sandbox:
    """A job's directory, and the plugin in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.job: dict[str, Any] = {}

    def file(self, name: str) -> Path:
        return self.directory / name

    def run(self, *files: tuple[str, str], upload: bool = False, **env: str) -> tuple[int, list[Any]]:
        """Pairs of URL and file name; exit code and answers."""
        ads = [classad2.ClassAd({"Url": url, "LocalFileName": str(self.file(name))}) for url, name in files]
        self.file(".plugin.in").write_text("".join(map(str, ads)))
        self.file(".plugin.out").write_bytes(ROOM)
        if self.job:
            self.file(".job.ad").write_text(classad2.ClassAd(self.job).printOld())
            env["_CONDOR_JOB_AD"] = str(self.file(".job.ad"))
        words = ["-infile", str(self.file(".plugin.in")), "-outfile", str(self.file(".plugin.out"))]
        done = subprocess.run(
            [PROGRAM, *words, *(["-upload"] if upload else [])],
            env=environment(**env),
            capture_output=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        self.errors = done.stderr.decode()
        found = list(classad2.parseAds(self.file(".plugin.out").read_text()))
        assert [one["TransferUrl"] for one in found] == [url for url, _ in files]
        assert [one["TransferFileName"] for one in found] == [str(self.file(name)) for _, name in files]
        return done.returncode, found


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    yield Sandbox(tmp_path)


def whys(ad: Any) -> list[Any]:
    """The entries of ``TransferErrorData``."""
    return list(ad.eval("TransferErrorData"))


def test_it_says_what_it_can() -> None:
    done = subprocess.run([PROGRAM, "-classad"], capture_output=True, text=True, check=True)
    ad = classad2.parseOne(done.stdout)
    assert (ad["MultipleFileSupport"], ad["PluginType"], ad["ProtocolVersion"]) == (True, "FileTransfer", 4)
    methods = ad["SupportedMethods"].split(",")
    assert {"http", "https", "s3", "davs", "sftp", "gsiftp"} <= set(methods)
    assert not {"file", "memory", "moveto", "symlink"} & set(methods)


def test_the_worker_is_the_plugin_too() -> None:
    """So that the one packed file serves as both."""
    words = [str(Path(PROGRAM).with_name("pegasus-worker")), "-classad"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert classad2.parseOne(done.stdout)["PluginType"] == "FileTransfer"


def test_a_library_that_is_not_there_is_not_promised() -> None:
    code = "import sys; sys.modules['pycurl'] = None\nfrom pegasus_toolkit.cli.plugin import schemes\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "print(schemes())"], capture_output=True, text=True, check=True
    )
    assert "'http'" not in done.stdout and "'scp'" in done.stdout


def test_files_come_by_http(sandbox: Sandbox, nginx: Nginx) -> None:
    files = {"one": b"", "two": content(3_000_001), "ä%41'\"": b"odd"}
    for name, data in files.items():
        (nginx.data / name).write_bytes(data)
    base = f"http://{nginx.authority}/files"
    began = int(time.time())
    code, ads = sandbox.run(
        (f"{base}/one", "one"), (f"{base}/two", "2"), (f"{base}/%C3%A4%2541'%22", 'a "b" \\c')
    )
    assert code == 0
    assert [sandbox.file(name).read_bytes() for name in ("one", "2", 'a "b" \\c')] == list(files.values())
    for ad, data in zip(ads, files.values(), strict=True):
        assert (ad["TransferSuccess"], ad["TransferType"], ad["TransferProtocol"]) == (
            True,
            "download",
            "http",
        )
        assert (ad["TransferFileBytes"], ad["TransferTotalBytes"]) == (len(data), len(data))
        assert began <= ad["TransferStartTime"] <= ad["TransferEndTime"] <= time.time()
        assert ad["DeveloperData"]["TransferDigest"] == f"sha256:{sha256(data)}"
        assert ad["DeveloperData"]["TransferHostName"] == nginx.authority
        assert "TransferErrorData" not in ad


def test_each_failure_is_told_by_its_kind(
    sandbox: Sandbox, nginx: Nginx, odd: Callable[[Answer], Odd]
) -> None:
    def busy(request: Request) -> Reply:
        return Reply(status=503, headers={"Retry-After": "1"})

    server = odd(busy)
    (nginx.data / "good").write_bytes(b"good")
    base, closed = f"http://{nginx.authority}", free_port()
    code, ads = sandbox.run(
        (f"{base}/files/good", "good"),
        (f"{base}/files/missing", "missing"),
        (f"{base}/private/good", "private"),
        (f"http://127.0.0.1:{closed}/x", "closed"),
        ("http://no-such-host.invalid/x", "nowhere"),
        (f"http://{server.authority}/x", "busy"),
        ("nonsense://host/x", "nonsense"),
        ("http://joe:secret@host/x", "wrong"),
        PEGASUS_TRANSFER_PATIENCE="2",
    )
    assert code == 1
    assert [ad["TransferSuccess"] for ad in ads] == [True] + [False] * 7
    assert sandbox.file("good").read_bytes() == b"good"
    assert not any(sandbox.file(name).exists() for name in ("missing", "private", "busy"))
    kinds = [whys(ad)[-1]["ErrorType"] for ad in ads[1:]]
    assert kinds[:4] == ["Specification", "Authorization", "Contact", "Resolution"]
    assert kinds[4:] == ["Transfer", "Parameter", "Parameter"]
    assert [whys(ad)[-1]["Retryable"] for ad in ads[1:]] == [-1, -1, 0, 0, 1, -1, -1]
    assert whys(ads[1])[-1]["FailedServer"] == nginx.authority
    assert whys(ads[3])[-1]["FailedServer"] == f"127.0.0.1:{closed}"
    assert whys(ads[4])[-1]["FailedName"] == "no-such-host.invalid"
    assert len(whys(ads[5])) == ads[5]["TransferTries"] > 1
    assert "no such file" in ads[1]["TransferError"].lower() or "not found" in ads[1]["TransferError"]
    for ad in ads[1:]:
        assert all({"ErrorCode", "ErrorString"} <= set(why.keys()) for why in whys(ad))
        assert "secret" not in ad["TransferError"] + str(ad.eval("TransferErrorData"))
    assert "secret" not in sandbox.errors and "missing" in sandbox.errors


def test_objects_go_to_s3_and_come_back(sandbox: Sandbox, service: Service, tmp_path: Path) -> None:
    data = content(700_001)
    sandbox.file("result").write_bytes(data)
    service.server.credentials(tmp_path)
    # As the job's ad has it; the file came into the sandbox before the plugin was called.
    sandbox.job = {"Environment": "X='a b' PEGASUS_CREDENTIALS=credentials.conf"}
    url = "s3://admin@weed/test/out/result"
    code, (ad,) = sandbox.run((url, "result"), upload=True)
    assert (code, ad["TransferType"], ad["TransferFileBytes"]) == (0, "upload", len(data))
    assert settle(get(service.open(), "/test/out/result")) == data
    code, (ad, wrong) = sandbox.run((url, "back"), ("s3://admin@weed/test/none", "none"))
    assert (code, sandbox.file("back").read_bytes()) == (1, data)
    assert (ad["TransferSuccess"], whys(wrong)[0]["ErrorType"]) == (True, "Specification")
    code, (ad,) = sandbox.run(("s3://reader@weed/test/denied", "result"), upload=True)
    assert (code, whys(ad)[0]["ErrorType"]) == (1, "Authorization")
    code, (ad,) = sandbox.run((url, "not-there"), upload=True)
    assert (code, whys(ad)[0]["ErrorType"]) == (1, "Specification")
    assert "not-there" in ad["TransferError"]


def test_a_directory_goes_to_webdav_as_a_whole(sandbox: Sandbox, nginx_dav: Dav) -> None:
    sandbox.file("results/deep").mkdir(parents=True)
    sandbox.file("results/a").write_bytes(b"a")
    sandbox.file("results/deep/b").write_bytes(b"bb")
    code, (ad,) = sandbox.run((f"dav://{nginx_dav.authority}/dav/run1", "results"), upload=True)
    assert (code, ad["TransferSuccess"], ad["TransferFileBytes"]) == (0, True, 3)
    assert ad["DeveloperData"]["TransferFiles"] == 2
    assert (nginx_dav.data / "run1/deep/b").read_bytes() == b"bb"
    code, (ad,) = sandbox.run((f"dav://{nginx_dav.authority}/dav/run1/a", "back"))
    assert (code, sandbox.file("back").read_bytes()) == (0, b"a")
    code, (ad,) = sandbox.run((f"dav://{nginx_dav.authority}/dav/none", "back"))
    assert (code, whys(ad)[-1]["ErrorType"]) == (1, "Specification")


def test_a_token_that_the_url_names(sandbox: Sandbox, nginx: Nginx) -> None:
    """``NAME.HANDLE+https://`` is HTCondor's way to say which token goes to that host."""
    (nginx.data / "guarded").write_bytes(b"for few")
    tokens = sandbox.file(".condor_creds")
    tokens.mkdir(mode=0o700)
    (tokens / "mine_here.use").write_text(json.dumps({"access_token": TOKEN}))
    (tokens / "mine_here.use").chmod(0o600)
    env = {"_CONDOR_CREDS": str(tokens), "CURL_CA_BUNDLE": str(nginx.pki.ca)}
    url = f"https://localhost:{nginx.tls_port}/token/guarded"
    code, ads = sandbox.run((f"mine.here+{url}", "with"), (url, "without"), (f"other+{url}", "other"), **env)
    assert (code, [ad["TransferSuccess"] for ad in ads]) == (1, [True, False, False]), str(ads)
    assert sandbox.file("with").read_bytes() == b"for few"
    assert ads[0]["TransferProtocol"] == "https"
    assert "other" in ads[2]["TransferError"]
    assert TOKEN not in sandbox.file(".plugin.out").read_text() + sandbox.errors


def test_credentials_that_all_can_read_are_refused_by_name(sandbox: Sandbox, nginx: Nginx) -> None:
    secret = base64.b64encode(b"secret").decode()
    sandbox.file("c.conf").write_text(f"[http://{nginx.authority}]\ntoken = {secret}\n")
    sandbox.file("c.conf").chmod(0o644)
    sandbox.job = {"Environment": "PEGASUS_CREDENTIALS=c.conf"}
    code, (ad,) = sandbox.run((f"http://{nginx.authority}/files/good", "good"))
    assert (code, whys(ad)[0]["ErrorType"]) == (1, "Authorization")
    assert str(sandbox.file("c.conf")) in ad["TransferError"] and secret not in ad["TransferError"]


def test_ads_of_later_versions_are_passed_over(sandbox: Sandbox, nginx: Nginx) -> None:
    (nginx.data / "good").write_bytes(b"good")
    (infile, outfile), url = (sandbox.file("in"), sandbox.file("out")), f"http://{nginx.authority}/files/good"
    infile.write_text(
        f'[ PluginData = [ x = y + 1 ] ]\n[ LOCALFILENAME = "got"; URL = "{url}"; MustUntar = false ]'
    )
    done = subprocess.run([PROGRAM, "-outfile", outfile, "-infile", infile], env=environment(), check=False)
    assert (done.returncode, sandbox.file("got").read_bytes()) == (0, b"good")
    assert len(list(classad2.parseAds(outfile.read_text()))) == 1


@pytest.mark.parametrize("text", [None, "nonsense", "[ Url = 3; LocalFileName = 4 ]"])
def test_an_input_that_makes_no_sense_is_answered(sandbox: Sandbox, text: str | None) -> None:
    infile, outfile = sandbox.file("in"), sandbox.file("out")
    if text is not None:
        infile.write_text(text)
    outfile.write_bytes(ROOM)
    done = subprocess.run(
        [PROGRAM, "-infile", infile, "-outfile", outfile], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "cannot read" in done.stderr
    (ad,) = classad2.parseAds(outfile.read_text())
    assert ad["TransferSuccess"] is False and "cannot read" in ad["TransferError"]


@pytest.mark.parametrize("words", [[], ["-infile", "x"], ["-infile"], ["a", "b"], ["-classad", "x"]])
def test_other_words_are_an_error(words: list[str]) -> None:
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "usage" in done.stderr
