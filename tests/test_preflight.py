"""``--check``: asked of real and of troubled endpoints; nothing is moved."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pegasus_toolkit.transfer.backends.memory import Memory
from pegasus_toolkit.transfer.engine.pool import Pool
from pegasus_toolkit.transfer.engine.preflight import Finding, check
from pegasus_toolkit.transfer.errors import Denied, NoSpace, Unreachable, Unsupported
from pegasus_toolkit.transfer.interface import Backend, Endpoint, Identity, Settings
from tests.command import run
from tests.servers.seaweed import Seaweed
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
        move(1, "remote://a/f", "remote://b/g", size=10),
        move(2, "remote://a/f", "remote://down/g"),
        move(3, "gopher://c/f", "remote://b/h", size=5),
        mkdir(4, "remote://b/d"),
    )
    assert found["a"].error is None and found["a"].warnings == ()
    assert (found["b"].use.writes, found["b"].use.bytes, found["b"].error) == (3, 15, None)
    assert isinstance(found["down"].error, Unreachable)
    assert isinstance(found["c"].error, Unsupported)
    assert world.store("b") == {}


def test_a_source_that_is_not_there_is_a_warning() -> None:
    assert ask(World(), move(1, "remote://a/f", "remote://b/g"))["a"].warnings == ("not there: /f",)


@pytest.fixture
def pool() -> Iterator[Pool]:
    lives = {"dead": -5.0, "dying": 600.0, "fresh": 90000.0}

    def opener(endpoint: Endpoint, settings: Settings) -> Backend:
        return Known(time.time() + lives[endpoint.authority])

    pool = Pool(World().settings, opener)
    yield pool
    pool.close()


def test_lifetimes_and_room(pool: Pool) -> None:
    dead, dying, fresh = check(
        [
            move(1, "memory://dead/f", "memory://dying/g", size=900),
            move(2, "memory://dead/f", "memory://fresh/g", size=1001),
        ],
        pool,
    )
    assert isinstance(dead.error, Denied) and "expired" in str(dead.error)
    assert dying.warnings == ("the X.509 proxy lives only 10 minutes more",) and dying.error is None
    assert isinstance(fresh.error, NoSpace) and fresh.free == 1000


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
