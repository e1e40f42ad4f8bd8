"""``--check``: asked of real and of troubled endpoints; nothing is moved."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.credentials import Credentials
from pegasus_toolkit.transfer.backends import open_backend
from pegasus_toolkit.transfer.backends.memory import Memory
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.preflight import Finding, Use, check, examine
from pegasus_toolkit.transfer.engine.survey import Survey
from pegasus_toolkit.transfer.errors import Denied, NoSpace, NotFound, Unreachable, Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Identity, Settings
from tests import command
from tests.command import run
from tests.servers.seaweed import Seaweed
from tests.test_credentials_tokens import jwt
from tests.worlds import World, mkdir, move


class Known(Memory):
    """A store that knows who asks, and how much room it has."""

    def __init__(self, expires: float | None) -> None:
        super().__init__({})
        self.expires = expires

    def identity(self) -> Identity:
        return Identity("X.509 proxy", "/tmp/proxy", self.expires)

    def free(self, path: str) -> int | None:
        return 1000


def ask(world: World, *operations: object) -> dict[str, Finding]:
    findings = check(operations, Pool(world.settings, world.open))  # type: ignore[arg-type]
    return {finding.use.endpoint.authority: finding for finding in findings}


def test_each_endpoint_is_asked_once_and_what_is_wrong_is_told() -> None:
    world = World()
    world.store("a")["/f"] = b"x"

    def closed(authority: str) -> None:
        raise Unreachable("refused", host=authority)

    world.opening["down"] = closed
    found = ask(
        world,
        move(1, "remote://a/f", "remote://b/g"),
        move(2, "remote://a/f", "remote://down/g"),
        move(3, "gopher://c/f", "remote://b/h"),
        mkdir(4, "remote://b/d"),
    )
    assert found["a"].error is None and found["a"].warnings == ()
    assert (found["b"].use.writes, found["b"].error) == (3, None)
    assert isinstance(found["down"].error, Unreachable)
    assert isinstance(found["c"].error, Unsupported)
    assert world.store("b") == {}


@pytest.fixture
def pool() -> Iterator[Pool]:
    lives = {"dead": -5.0, "dying": 600.0, "fresh": 90000.0}

    def opener(endpoint: Endpoint, settings: Settings) -> Backend:
        return Known(time.time() + lives[endpoint.authority])

    pool = Pool(World().settings, opener)
    yield pool
    pool.close()


def test_lifetimes_and_room(pool: Pool) -> None:
    asked = [
        move(1, "memory://dead/f", "memory://dying/g", size=900),
        move(2, "memory://dead/f", "memory://fresh/g", size=600),
        move(3, "memory://dead/f", "memory://fresh/h", size=401),
    ]
    dead, dying, fresh = check(asked, pool)
    assert isinstance(dead.error, Denied) and "expired" in str(dead.error)
    assert dying.warnings == ("the X.509 proxy lives only 10 minutes more",) and dying.error is None
    assert fresh.error is None and fresh.free == 1000
    survey = Survey(asked, pool)
    assert [one.size for one in survey.look(lambda _: True)] == [900, 600, 401] and survey.bytes == 1901
    (lacking,) = survey.room()
    assert isinstance(lacking, NoSpace) and "1001 bytes to be written, 1000 free" in str(lacking)


def test_another_source_may_be_there_and_one_that_is_silent_is_asked_once() -> None:
    world = World()
    world.store("a")["/f"] = b"xyz"
    asked: list[str] = []

    def closed(authority: str) -> None:
        asked.append(authority)
        raise Unreachable("refused", host=authority)

    world.opening["down"] = closed
    operations = [
        move(1, "remote://down/f", "remote://a/f", "remote://b/g"),
        move(2, "remote://down/h", "remote://b/h"),
        move(3, "remote://a/none", "remote://down/h", "remote://b/i"),
    ]
    survey = Survey(operations, Pool(world.settings, world.open))
    found = list(survey.look(lambda _: False))
    assert [one.size for one in found] == [3, None, None]
    assert found[0].error is None
    assert isinstance(found[1].error, Unreachable) and isinstance(found[2].error, Unreachable)
    assert asked == ["down"] and world.store("b") == {}


def test_what_another_operation_makes_need_not_be_there_yet() -> None:
    world = World()
    world.store("a")["/f"] = b"xyz"
    operations = [
        mkdir(1, "remote://b/d"),
        move(2, "remote://a/f", "remote://b/d/f"),
        move(3, "remote://b/d/f", "remote://c/f"),
        move(4, "remote://b/d/g", "remote://c/g"),
        move(5, "remote://b/d", "remote://c/d"),
    ]
    found = list(Survey(operations, Pool(world.settings, world.open)).look(lambda _: False))
    assert [type(one.error) for one in found] == [type(None)] * 3 + [NotFound] * 2


def test_the_command_tells_a_line_an_endpoint(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    entries = [
        {
            "type": "transfer",
            "src_urls": [{"site_label": "here", "url": f"file://{tmp_path}/a"}],
            "dest_urls": [{"site_label": "there", "url": f"{scheme}{tmp_path}/{scheme[:4]}"}],
        }
        for scheme in ("file://", "gopher://h")
    ]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps(entries))
    done = run("-f", spec, "--check", cwd=tmp_path)
    assert done.returncode == 2
    here, there, gopher = done.stdout.splitlines()
    assert here.startswith("ready ") and "site here  2 to read, 0 to write" in here
    assert "0 to read, 1 to write" in there and there.endswith("free")
    assert gopher.startswith("FAILED") and "no protocol 'gopher'" in gopher
    assert not (tmp_path / "file").exists()


def test_a_real_service_answers_or_tells_what_is_wrong(seaweed: Seaweed, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    spec = tmp_path / "spec.json"

    def entries(user: str) -> str:
        ends = {"src_urls": f"file://{tmp_path}/f", "dest_urls": f"s3://{user}@weed/preflight/f"}
        entry = {key: [{"site_label": "cloud", "url": url}] for key, url in ends.items()}
        return json.dumps([{"type": "transfer", **entry}])

    env = {"PEGASUS_CREDENTIALS": str(seaweed.credentials(tmp_path))}
    spec.write_text(entries("admin"))
    done = run("-f", spec, "--check", cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert "ready   s3://admin@weed  site cloud  access key (section [admin@weed] of" in done.stdout
    assert "testsecret123" not in done.stdout + done.stderr
    spec.write_text(entries("nobody"))
    done = run("-f", spec, "--check", cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "FAILED" in done.stdout and "nobody@weed" in done.stdout


READS, WRITES = "storage.read:/", "storage.modify:/"


@pytest.mark.parametrize(
    ("scope", "reads", "writes", "lacking"),
    [
        (READS, 1, 0, ""),
        (READS, 0, 1, "storage.modify or storage.create, which writing needs"),
        (f"{WRITES} openid", 0, 1, ""),
        ("storage.create:/home", 0, 1, ""),
        ("storage.modify:/", 1, 1, "storage.read, which reading needs"),
        ("compute.read storage.stage:/", 1, 0, ""),
        ("read:/data", 0, 2, "storage.modify or storage.create, which writing needs"),
        ("write:/data read:/data", 1, 1, ""),
        (["storage.read:/"], 0, 1, "storage.modify or storage.create, which writing needs"),
        ("openid profile", 1, 1, ""),
        ("", 1, 1, ""),
    ],
)
def test_scopes_of_a_token(scope: str | list[str], reads: int, writes: int, lacking: str) -> None:
    """Named before anything moves, or anybody is asked; a token that names no rights may have them."""
    environ = {"BEARER_TOKEN": jwt(scope=scope, aud="https://wlcg.cern.ch/jwt/v1/any")}
    token = Credentials(environ, "", "").token("davs", "localhost:1")
    assert token is not None
    settings = Settings(Credentials(environ, "", ""), environ, connect_timeout=5)
    use = Use(
        Endpoint("davs", "localhost:1", "x"), reads, writes, "/f" if reads else "", "/g" if writes else ""
    )
    found = examine(use, Pool(settings, open_backend))
    assert found.error is not None and bool(lacking) == isinstance(found.error, Denied)
    assert lacking in str(found.error)
    if lacking:
        assert "BEARER_TOKEN" in str(found.error) and token.secret.reveal() not in str(found.error)
    assert ("storage.create only" in " ".join(found.warnings)) == (scope == "storage.create:/home")


@pytest.mark.parametrize(
    ("audience", "told"),
    [
        ("https://localhost:1", False), ("localhost", False), (["x", "https://LOCALHOST"], False),
        (None, False),
        ("https://wlcg.cern.ch/jwt/v1/any", False), ("ANY", False), ("https://other.example.org", True),
        (["a", "b"], True),
    ],
)  # fmt: skip
def test_audience_of_a_token(audience: object, told: bool) -> None:
    """Servers may call themselves as they like, so that it is a warning."""
    environ = {"BEARER_TOKEN": jwt(**({"aud": audience} if audience else {}))}
    settings = Settings(Credentials(environ, "", ""), environ, connect_timeout=5)
    found = examine(Use(Endpoint("davs", "localhost:1", "x"), 1, 0, "/f"), Pool(settings, open_backend))
    assert isinstance(found.error, Unreachable)
    assert any("the token is for" in warning for warning in found.warnings) == told


def test_the_command_names_what_a_token_lacks(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    token = tmp_path / "token"
    token.touch(mode=0o600)
    entry = command.entry(tmp_path / "f", "davs://localhost:1/f")
    spec = command.write(tmp_path / "spec", [entry])
    for text, words in (
        (jwt(scope=READS), ("lacks storage.modify", str(token), READS)),
        (jwt(scope=WRITES, exp=1), ("the token expired at", str(token))),
    ):
        token.write_text(text)
        done = run("-f", spec, "--check", cwd=tmp_path, env={"BEARER_TOKEN_FILE": str(token)})
        assert done.returncode == 2
        assert all(word in done.stdout for word in words), done.stdout
        assert text not in done.stdout + done.stderr
