"""Container images: from a real registry with our own client, and by programs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pegasus_toolkit.transfer import url as urls
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    NotFound,
    ServerFault,
    Throttled,
    TransferError,
    Unsupported,
)
from pegasus_toolkit.transfer.interface import Backend
from tests.conformance import BackendSuite
from tests.image_world import Known, opened, pulled, unpacked
from tests.material import AWKWARD, given, store_job
from tests.material import content as random_bytes
from tests.servers.registry import (
    OCI,
    PASSWORD,
    USER,
    Image,
    Registries,
    blob,
    image,
    index,
    layer,
    sif,
)

OddServer = Callable[..., Any]


# --- the files of oras are any bytes, so the suite fits ------------------------------------------------


class TestOras(BackendSuite):
    cannot_name = frozenset(AWKWARD)

    @pytest.fixture(autouse=True)
    def area(self, registries: Registries, known: Known, request: Any) -> None:
        self.registries, self.settings = registries, known()
        self.known: set[str] = set()
        self.area_name = "a" + blob(request.node.name.encode())[7:19]

    def open(self) -> Backend:
        return opened(f"oras://{self.registries.open}/x/y:1", self.settings)[0]

    def path(self, name: str) -> str:
        return f"/{self.area_name}:{name.replace('/', '__')}"

    def write(self, path: str, content: bytes) -> None:
        one, (name, tag) = sif(content), path.strip("/").split(":")
        if name not in self.known:
            self.registries.upload(name, one.config)
            self.known.add(name)
        self.registries.upload(name, content)
        self.registries.tag(name, tag, one.manifest)


# --- archives for Docker ------------------------------------------------------------------------------


def test_an_archive_holds_what_the_manifest_names_and_is_the_same_each_time(
    registries: Registries, hello: Image, known: Known, tmp_path: Path
) -> None:
    url = f"docker://{registries.open}/tests/hello:1"
    archive = pulled(url, known())
    found = unpacked(archive, tmp_path)
    (table,) = json.loads(found.pop("manifest.json"))
    assert table["RepoTags"] == [f"{registries.open}/tests/hello:1"]
    assert found[table["Config"]] == hello.config
    assert [found[name] for name in table["Layers"]] == list(hello.layers)
    assert len(found) == 3, "a layer that is there twice is stored once"
    assert archive == pulled(url, known())
    backend, path = opened(url, known())
    assert backend.stat(path).size is None, "a SIF file of it would have another size"
    backend.close()


@pytest.mark.parametrize("name", ["docker:///tests/hello", "docker://tests/hello"])
def test_names_without_a_host_are_of_the_hub(name: str) -> None:
    place = urls.parse(name, "local", {})
    assert (place.endpoint.host, place.path) == ("docker.io", "/tests/hello")


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("docker://keg:1", "docker.io", "/keg:1"),
        ("docker://localhost/keg", "localhost", "/keg"),
        ("docker://Quay.io/joe/keg@sha256:00", "quay.io", "/joe/keg@sha256:00"),
        ("library://joe/default/keg:1", "library.sylabs.io", "/joe/default/keg:1"),
        ("shub://joe/keg", "singularity-hub.org", "/joe/keg"),
        ("oras://hub:5000/keg", "hub:5000", "/keg"),
    ],
)
def test_where_an_image_is(url: str, host: str, path: str) -> None:
    place = urls.parse(url, "local", {})
    assert (place.endpoint.host, place.path) == (host, path)


def test_a_pinned_digest_counts_before_the_tag(
    registries: Registries, hello: Image, known: Known, tmp_path: Path
) -> None:
    other = registries.push("tests/hello", "2", image(layer(other=b"x")))
    archive = pulled(f"docker://{registries.open}/tests/hello:1@{other.digest}", known())
    (table,) = json.loads(unpacked(archive, tmp_path)["manifest.json"])
    assert table["Config"] == f"{blob(other.config)[7:]}.json"
    untagged = pulled(f"docker://{registries.open}/tests/hello@{hello.digest}", known())
    assert json.loads(unpacked(untagged, tmp_path)["manifest.json"])[0]["RepoTags"] == []


def test_what_is_damaged_in_the_registry_is_not_taken(registries: Registries, known: Known) -> None:
    one = image(layer(a=random_bytes(5000, 3)))
    registries.push("tests/damaged", "1", one)
    registries.damage(one.layers[0])
    with pytest.raises(Corrupted, match="another digest"):
        pulled(f"docker://{registries.open}/tests/damaged:1", known())


def test_an_index_gives_the_image_of_the_platform(
    registries: Registries, known: Known, tmp_path: Path
) -> None:
    kinds = {name: image(layer(a=name.encode()), architecture=name) for name in ("amd64", "arm64", "s390x")}
    for one in kinds.values():
        registries.push("tests/many", "one", one)
    registries.tag("tests/many", "all", index(**kinds))
    url = f"docker://{registries.open}/tests/many:all"

    def config(archive: bytes) -> str:
        (table,) = json.loads(unpacked(archive, tmp_path)["manifest.json"])
        return str(table["Config"])[:-5]

    assert config(pulled(f"{url}?platform=linux/arm64", known())) == blob(kinds["arm64"].config)[7:]
    section = f"[docker://{registries.open}]\nplatform = linux/s390x\n"
    assert config(pulled(url, known(section))) == blob(kinds["s390x"].config)[7:]
    with pytest.raises(Unsupported, match=r"not made for linux/riscv64, only for linux/amd64, linux/arm64"):
        pulled(f"{url}?platform=linux/riscv64", known())


def test_a_missing_image(registries: Registries, known: Known) -> None:
    with pytest.raises(NotFound, match="MANIFEST_UNKNOWN"):
        pulled(f"docker://{registries.open}/tests/missing:1", known())


@pytest.mark.parametrize("name", ["Upper/case:1", "a//b", "a:b:c", "a@sha256:12", "a/../b", ""])
def test_names_that_no_image_has(name: str, known: Known) -> None:
    with pytest.raises(BadSpecification, match="not an image's name"):
        pulled(f"docker://localhost/{name}", known())


def test_a_file_is_no_image_and_an_image_no_file(registries: Registries, hello: Image, known: Known) -> None:
    registries.push("tests/sif", "1", sif(b"SIF"))
    with pytest.raises(Unsupported, match="name it oras://"):
        pulled(f"docker://{registries.open}/tests/sif:1", known())
    with pytest.raises(Unsupported, match="name it docker://"):
        pulled(f"oras://{registries.open}/tests/hello:1", known())
    assert pulled(f"oras://{registries.open}/tests/sif:1", known()) == b"SIF"


def test_nothing_is_written(registries: Registries, known: Known) -> None:
    backend, _ = opened(f"docker://{registries.open}/x", known())
    (job,) = backend.put(iter([store_job("/a:1", given(b"x"))]))
    assert isinstance(job.error, Unsupported)
    assert isinstance(dict(backend.remove(["/a:1"]))["/a:1"], Unsupported)
    for verb in (backend.mkdir, lambda path: list(backend.list(path))):
        with pytest.raises(Unsupported):
            verb("/a")
    backend.close()


# --- logins -------------------------------------------------------------------------------------------


def login_file(path: Path, *hosts: str, user: str = USER, **more: Any) -> str:
    import base64

    auth = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}, **more}))
    path.chmod(0o600)
    return str(path)


def test_a_password_over_tls(registries: Registries, hello: Image, known: Known, tmp_path: Path) -> None:
    url = f"docker://{registries.private}/tests/hello:1"
    trust = {"SSL_CERT_FILE": str(registries.pki.ca)}
    with pytest.raises(Denied, match=f"docker login {registries.private}"):
        pulled(url, known(**trust))
    named = login_file(tmp_path / "auth.json", registries.private)
    assert pulled(url, known(REGISTRY_AUTH_FILE=named, **trust))
    login_file(tmp_path / "home/.docker/config.json", registries.private)
    assert pulled(url, known(**trust))
    (tmp_path / "home/.docker/config.json").unlink()
    section = f"[docker://{registries.private}]\nusername = {USER}\npassword = {PASSWORD}\n"
    section += f"ca_file = {registries.pki.ca}\n"
    assert pulled(url, known(section))
    with pytest.raises(Denied, match="was used"):
        pulled(url, known(section.replace(PASSWORD, "wrong")))


def test_a_server_that_nobody_vouches_for(registries: Registries, hello: Image, known: Known) -> None:
    with pytest.raises(Denied, match="certificate"):
        pulled(f"docker://{registries.private}/tests/hello:1", known())


def test_tokens(registries: Registries, hello: Image, known: Known, tmp_path: Path) -> None:
    url = f"docker://{registries.token}/tests/hello:1"
    with pytest.raises(Denied, match=f"docker login {registries.token}"):
        pulled(url, known())
    named = login_file(tmp_path / "auth.json", registries.token)
    assert pulled(url, known(REGISTRY_AUTH_FILE=named))
    part = login_file(tmp_path / "part.json", f"{registries.token}/tests")
    assert pulled(url, known(REGISTRY_AUTH_FILE=part))
    wrong = login_file(tmp_path / "wrong.json", registries.token, user="nobody")
    with pytest.raises(Denied, match=r"wrong\.json.* was used"):
        pulled(url, known(REGISTRY_AUTH_FILE=wrong))


def test_a_login_that_a_helper_keeps(
    registries: Registries, hello: Image, known: Known, tmp_path: Path
) -> None:
    helper = tmp_path / "bin/docker-credential-ring"
    helper.parent.mkdir()
    told = json.dumps({"Username": "<token>", "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread host\n[ $host = {registries.token} ] && echo '{told}'\n")
    helper.chmod(0o755)
    file = tmp_path / "auth.json"
    file.write_text(json.dumps({"credHelpers": {registries.token: "ring"}}))
    path = f"{helper.parent}:{os.environ['PATH']}"
    url = f"docker://{registries.token}/tests/hello:1"
    assert pulled(url, known(REGISTRY_AUTH_FILE=str(file), PATH=path))
    with pytest.raises(Denied, match="docker-credential-ring, which is not on PATH"):
        pulled(url, known(REGISTRY_AUTH_FILE=str(file)))


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o600, "is not JSON"),
        ("[]", 0o600, "holds no object"),
        ('{"auths": {"h:1": {"auth": "eA=="}}}', 0o600, "the login of h:1 is broken"),
        ('{"auths": {"h:1": {"auth": "eDp5"}}}', 0o644, "can be accessed by others"),
    ],
)
def test_login_files_that_are_wrong(text: str, mode: int, said: str, known: Known, tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(Denied, match=said):
        pulled("docker://h:1/x:1", known(REGISTRY_AUTH_FILE=str(file)))


# --- servers that fail (no real one can be told to) -----------------------------------------------------


def hub(one: Image, **instead: Any) -> Callable[[Any], Any]:
    """A registry with one image; ``instead``: what it answers in place of a manifest or of blobs."""
    from tests.servers.odd_http import Reply

    def answer(request: Any) -> Any:
        last = request.target.rpartition("/")[2]
        what = "manifests" if "/manifests/" in request.target else "blobs"
        if request.target.startswith("/v2/") and what in instead and request.target != "/v2/":
            found = instead[what](request)
            if found is not None:
                return found
        if what == "manifests":
            return Reply(one.manifest, headers={"Content-Type": OCI.format("manifest")})
        content = next((one for one in (one.config, *one.layers) if blob(one) == last), b"")
        return Reply(content)

    return answer


def test_a_limit_of_the_hub_is_told(odd: OddServer, known: Known) -> None:
    from tests.servers.odd_http import Reply

    words = {"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}
    limit = Reply(json.dumps(words).encode(), 429, {"Retry-After": "77"})
    server = odd(hub(image(layer(a=b"")), manifests=lambda request: limit))
    with pytest.raises(Throttled, match=r"TOOMANYREQUESTS You have reached.*docker login") as told:
        pulled(f"docker://{server.authority}/a/b:1", known())
    assert told.value.retry_after == 77


def test_a_blob_goes_on_where_the_connection_broke(odd: OddServer, known: Known, tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.servers.odd_http import Reply, file

    one = image(layer(a=random_bytes(3_000_000)))
    asked: list[str] = []

    def broken(request: Any) -> Any:
        if not request.target.endswith(blob(one.layers[0])):
            return None
        asked.append(request.headers.get("range", ""))
        reply = file(one.layers[0])(request)
        if len(asked) == 2:
            reply = Reply(one.layers[0])  # a server that gives no ranges
        return replace(reply, cut=700_000 * len(asked)) if len(asked) < 3 else reply

    server = odd(hub(one, blobs=broken))
    archive = pulled(f"docker://{server.authority}/a/b:1", known())
    assert unpacked(archive, tmp_path)[f"{blob(one.layers[0])[7:]}.tar"] == one.layers[0]
    assert len(asked) == 3 and asked[0] == "" and asked[1].startswith("bytes=")


def test_a_token_stays_with_the_registry(odd: OddServer, known: Known) -> None:
    from tests.servers.odd_http import Reply

    one = image(layer(a=b"x"))
    seen: list[Any] = []

    def elsewhere(request: Any) -> Any:
        seen.append(request)
        return Reply(next(c for c in (one.config, *one.layers) if blob(c) == request.target[1:]))

    store = odd(elsewhere)

    def asks(request: Any) -> Any:
        if request.headers.get("authorization") == "Bearer abc":
            return None
        realm = f'Bearer realm="http://{request.headers["host"]}/token",service="s"'
        return Reply(b"", 401, {"WWW-Authenticate": realm})

    def answer(request: Any) -> Any:
        if request.target.startswith("/token"):
            return Reply(b'{"access_token": "abc"}')
        return usual(request)

    usual = hub(
        one,
        manifests=asks,
        blobs=lambda request: Reply(
            b"", 307, {"Location": f"http://{store.authority}/{request.target.rpartition('/')[2]}"}
        ),
    )
    server = odd(answer)
    assert pulled(f"docker://{server.authority}/a/b:1", known())
    assert len(seen) == 2 and not any("authorization" in request.headers for request in seen)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"<html>", ServerFault, "not understood"),
        (b'{"schemaVersion": 1}', Unsupported, "no program loads any more"),
        (b'{"schemaVersion": 2}', ServerFault, "not understood"),
        (
            b'{"schemaVersion": 2, "config": {"digest": "../x", "size": 1}, "layers": []}',
            ServerFault,
            "not understood",
        ),
    ],
)
def test_manifests_that_are_none(
    body: bytes, kind: type[TransferError], said: str, odd: OddServer, known: Known
) -> None:
    from tests.servers.odd_http import Reply

    server = odd(hub(image(layer(a=b"")), manifests=lambda request: Reply(body)))
    with pytest.raises(kind, match=said):
        pulled(f"docker://{server.authority}/a/b:1", known())


def test_a_pinned_manifest_that_is_another(odd: OddServer, known: Known) -> None:
    one = image(layer(a=b""))
    server = odd(hub(one))
    with pytest.raises(Corrupted, match="the manifest is not sha256:00"):
        pulled(f"docker://{server.authority}/a/b@sha256:{'00' * 32}", known())


def test_a_blob_longer_than_its_manifest_says(odd: OddServer, known: Known) -> None:
    from tests.servers.odd_http import Reply

    one = image(layer(a=b""))
    chunked = Reply(one.config + b" ", length="")
    server = odd(hub(one, blobs=lambda request: chunked))
    with pytest.raises(Corrupted, match="more than"):
        pulled(f"docker://{server.authority}/a/b:1", known())


# --- Sylabs' library and Singularity Hub: our own servers in their words ---------------------------------


def test_library(odd: OddServer, known: Known) -> None:
    from tests.servers.odd_http import Reply

    def answer(request: Any) -> Any:
        good = request.target.startswith("/v1/imagefile/joe/default/keg:2?arch=")
        return Reply(b"SIF", 200 if good else 404)

    server = odd(answer)
    assert pulled(f"library://{server.authority}/joe/default/keg:2", known()) == b"SIF"
    with pytest.raises(NotFound):
        pulled(f"library://{server.authority}/joe/default/keg:3", known())


def test_singularity_hub(odd: OddServer, known: Known) -> None:
    from tests.servers.odd_http import Reply

    def answer(request: Any) -> Any:
        if request.target == "/api/container/joe/keg:latest":
            return Reply(json.dumps({"image": f"http://{request.headers['host']}/i.simg"}).encode())
        return Reply(b"SIF", 200 if request.target == "/i.simg" else 404)

    server = odd(answer)
    assert pulled(f"shub://{server.authority}/joe/keg", known()) == b"SIF"
    with pytest.raises(BadSpecification, match="digests"):
        pulled(f"shub://{server.authority}/joe/keg@sha256:{'00' * 32}", known())
