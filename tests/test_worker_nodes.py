"""Nodes other than compute ones: staging, cleanup, registration, the receipt at the end."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pegasus_toolkit.planner.reading.load import load
from pegasus_toolkit.worker import registration
from pegasus_toolkit.worker.failure import Failed
from tests.servers.ftp import FtpServer
from tests.test_worker_compute import ABC, meta
from tests.worker_world import Done, bundle, ended, node, plan, started
from tests.workflows import shapes


def transfer(lfn: str, source: Path | str, destination: Path | str, **more: Any) -> dict[str, Any]:
    ends = {"src_urls": [source], "dest_urls": [destination]}
    urls = {
        key: [{"site_label": "local", "url": f"file://{one}"} for one in ones] for key, ones in ends.items()
    }
    return {"type": "transfer", "id": 1, "lfn": lfn, **urls, **more}


def auxiliary(root: Path, kind: str, *entries: Mapping[str, Any], **more: Any) -> Done:
    (root / "n.spec.json").write_text(json.dumps(entries))
    line = {"kind": kind, "site": "local", "specification": "n.spec.json", **more}
    return ended(root, started(root, bundle(root, {**node(root), **line}), {}))


def test_stage_in_tells_the_digests_that_it_took(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"abc")
    entry = transfer("in", tmp_path / "in", tmp_path / "there/in", generate_checksum=True)
    done = auxiliary(tmp_path, "stage_in", entry)
    assert done.code == 0 and (tmp_path / "there/in").read_bytes() == b"abc"
    assert done.meta == {"in": {"size": "3", "checksum.type": "sha256", "checksum.value": ABC}}
    assert done.record["bytes_in"] == 3 and done.record["transfers"][0]["kind"] == "in"


def test_a_catalogued_digest_that_is_wrong_stays_wrong(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"abd")
    checksum = {"type": "sha256", "value": ABC}
    done = auxiliary(tmp_path, "stage_in", transfer("in", tmp_path / "in", tmp_path / "t", checksum=checksum))
    assert done.code == 2 and ABC in done.record["error"] and not (tmp_path / "t").exists()
    assert done.record["checks"] == {"made": 1, "failed": 1}


def test_stage_out_verifies_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"abc")
    meta(tmp_path / "start", "maker", out=ABC)
    entry = transfer("out", tmp_path / "out", tmp_path / "kept/out", verify_checksum_remote=True)
    done = auxiliary(tmp_path, "stage_out", entry, metas=["maker"])
    assert done.code == 0 and done.record["checks"] == {"made": 1}
    (told,) = done.record["outputs"]
    assert told["digest"] == ABC and told["destinations"] == [f"file://{tmp_path}/kept/out"]
    (tmp_path / "out").write_bytes(b"abd")
    again = auxiliary(tmp_path, "stage_out", entry, metas=["maker"])
    assert again.code == 1 and (tmp_path / "kept/out").read_bytes() == b"abc"


def test_what_a_killed_attempt_left_at_a_server_is_removed_by_the_next(
    tmp_path: Path, ftp_plain: FtpServer
) -> None:
    with (tmp_path / "out").open("wb") as file:
        file.truncate(1 << 30)
    kept = ftp_plain.data / "left-by-a-node"
    entry = transfer("out", tmp_path / "out", tmp_path / "out")
    url = f"ftp://{ftp_plain.authority}{ftp_plain.prefix}/{kept.name}/out"
    entry["dest_urls"] = [{"site_label": "far", "url": url}]
    (tmp_path / "n.spec.json").write_text(json.dumps([entry]))
    line = {"kind": "stage_out", "site": "local", "specification": "n.spec.json", "verify": False}
    path = bundle(tmp_path, {**node(tmp_path), **line})
    process = started(tmp_path, path, {})
    while process.poll() is None and not list(kept.glob(".out*")):
        pass
    process.kill()
    assert ended(tmp_path, process).code == -9
    assert len(list(kept.iterdir())) == 1 and (tmp_path / "start/n.notes").exists()
    with (tmp_path / "out").open("r+b") as file:
        file.truncate(1000)
    again = ended(tmp_path, started(tmp_path, path, {}))
    assert again.code == 0, again.error
    assert [one.name for one in kept.iterdir()] == ["out"]
    assert not (tmp_path / "start/n.notes").exists()


def test_what_one_transfer_lacks_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    entries = [
        transfer("none", "/none", tmp_path / "t/none"),
        transfer("a", tmp_path / "a", tmp_path / "t/a"),
    ]
    done = auxiliary(tmp_path, "inter_site", *entries)
    assert done.code == 2 and "'none'" in done.record["error"] and (tmp_path / "t/a").exists()
    assert [bool(one.get("error")) for one in done.record["transfers"]].count(True) == 1


def test_directories_are_made_and_files_removed_as_often_as_asked(tmp_path: Path) -> None:
    target = {"site_label": "local", "url": f"file://{tmp_path}/a/b"}
    for _ in range(2):
        assert auxiliary(tmp_path, "create_dir", {"type": "mkdir", "id": 1, "target": target}).code == 0
    assert (tmp_path / "a/b").is_dir()
    removal = {"type": "remove", "id": 1, "target": {**target, "recursive": True}}
    for _ in range(2):
        done = auxiliary(tmp_path, "cleanup", removal)
        assert done.code == 0 and done.record["transfers"][0]["kind"] == "remove"
    assert not (tmp_path / "a/b").exists()


def test_a_specification_that_is_wrong(tmp_path: Path) -> None:
    done = auxiliary(tmp_path, "stage_in", {"type": "transfer", "id": 1})
    assert done.code == 2 and "src_urls" in done.record["error"]
    (tmp_path / "n.spec.json").unlink()
    line = {"kind": "cleanup", "specification": "n.spec.json"}
    again = ended(tmp_path, started(tmp_path, bundle(tmp_path, {**node(tmp_path), **line}), {}))
    assert again.code == 2 and "n.spec.json" in again.record["error"]


# --- registration -----------------------------------------------------------------------------------


def register(root: Path, *lfns: str, **more: Any) -> Done:
    entries = [{"lfn": lfn, "pfn": {"site": "local", "url": f"file:///out/{lfn}"}} for lfn in lfns]
    line = {"kind": "register", "registrations": entries, "catalog": f"{root}/sub/replicas.yml", **more}
    return ended(root, started(root, bundle(root, {**node(root), **line}), {}))


def catalog(root: Path) -> dict[str, Any]:
    tree = yaml.safe_load((root / "sub/replicas.yml").read_bytes())
    assert tree["pegasus"] == "5.0"
    return {one["lfn"]: one for one in tree["replicas"]}


def test_outputs_are_registered_with_their_digests(tmp_path: Path) -> None:
    meta(tmp_path / "start", "maker", a=ABC)
    done = register(tmp_path, "a", "b: #1\n'\"", metas=["maker"])
    assert done.code == 0 and done.record["checks"] == {"missing": 1}
    found = catalog(tmp_path)
    assert found["a"] == {
        "lfn": "a",
        "pfns": [{"site": "local", "pfn": "file:///out/a"}],
        "checksum": {"sha256": ABC},
    }
    assert found["b: #1\n'\""]["pfns"][0]["pfn"] == "file:///out/b: #1\n'\""
    read = load("workflow.yml", {"pegasus.catalog.replica.file": f"{tmp_path}/sub/replicas.yml"}, {}, "/none")
    replica = read.catalogs.replicas.find("a")
    assert replica is not None and replica.checksum is not None and replica.checksum.value == ABC


def test_what_the_catalog_says_of_others_stays(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    own = {
        "pegasus": "5.0.4",
        "replicas": [
            {"lfn": "mine", "pfns": [{"site": "x", "pfn": "http://h/mine"}], "metadata": {"k": "v"}},
            {"lfn": "a", "pfns": [{"site": "x", "pfn": "http://h/a"}], "checksum": {"sha256": "0" * 64}},
            {"lfn": "a*", "regex": True, "pfns": [{"site": "x", "pfn": "http://h/[0]"}]},
        ],
    }
    (tmp_path / "sub/replicas.yml").write_text("# by hand\n" + yaml.safe_dump(own))
    meta(tmp_path / "start", "maker", a=ABC)
    for _ in range(2):
        assert register(tmp_path, "a", metas=["maker"]).code == 0
    found = catalog(tmp_path)
    assert found["mine"] == own["replicas"][0] and found["a*"]["regex"] is True
    assert [one["pfn"] for one in found["a"]["pfns"]] == ["http://h/a", "file:///out/a"]
    assert found["a"]["checksum"] == {"sha256": ABC}


@pytest.mark.parametrize("text", ["[1, 2]", "replicas: 7", "a: [", "\t"])
def test_a_catalog_that_is_none_is_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/replicas.yml").write_text(text + "#")
    done = register(tmp_path, "a")
    assert done.code == 2 and "replicas.yml" in done.record["error"]
    assert (tmp_path / "sub/replicas.yml").read_text() == text + "#"


def test_registering_many_takes_time_in_proportion(tmp_path: Path) -> None:
    """Entries that are there are passed over unread: 40 nodes of 1000 files cost less than 40 readings."""
    path = str(tmp_path / "replicas.yml")
    began = time.process_time()
    for n in range(40):
        entries = {}
        for i in range(1000):
            lfn = f"dir/{n}/file.{i}"
            pfns = [{"site": "local", "pfn": f"file:///out/{lfn}"}]
            entries[lfn] = {
                "lfn": lfn,
                "pfns": pfns,
                "checksum": {"sha256": hashlib.sha256(lfn.encode()).hexdigest()},
            }
        registration.merge(path, entries)
    taken = time.process_time() - began
    assert len(Path(path).read_bytes().splitlines()) == 40_002
    began = time.process_time()
    yaml.load(Path(path).read_bytes(), yaml.CSafeLoader)
    assert taken < time.process_time() - began


def enter(path: str, name: str) -> None:
    for n in range(30):
        lfn = f"{name}{n}"
        with registration.locked(path):
            registration.merge(path, {lfn: {"lfn": lfn, "pfns": [{"site": "s", "pfn": "file:///1"}]}})


def test_several_that_register_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "r.yml")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=enter, args=(path, name)) for name in "abcd"]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    tree = yaml.safe_load(Path(path).read_bytes())
    assert sorted(one["lfn"] for one in tree["replicas"]) == sorted(
        f"{a}{n}" for a in "abcd" for n in range(30)
    )


def test_a_key_that_looks_like_another(tmp_path: Path) -> None:
    path = str(tmp_path / "r.yml")
    entry = {"pfns": [{"site": "s", "pfn": "file:///1"}]}
    for lfn in ('a"b', "a\\b", "ü", "a", 'a","pfns":"'):
        registration.merge(path, {lfn: {"lfn": lfn, **entry}})
        registration.merge(path, {lfn: {"lfn": lfn, **entry}})
    tree = yaml.safe_load(Path(path).read_bytes())
    assert [one["lfn"] for one in tree["replicas"]] == ['a"b', "a\\b", "ü", "a", 'a","pfns":"']


def test_without_pyyaml_a_catalog_of_others_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.yml"
    path.write_text("pegasus: '5.0'\nreplicas: []\n")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(Failed, match="needs PyYAML"):
        registration.merge(str(path), {"a": {"lfn": "a", "pfns": []}})


# --- the receipt ------------------------------------------------------------------------------------


def test_the_receipt_tells_who_made_what_and_where_it_is(tmp_path: Path) -> None:
    world = shapes.make("shared", tmp_path, "nonsharedfs")
    submitted = plan(world)
    assert not any(submitted.go().values())
    record = submitted.record("receipt")
    receipt = record["receipt"]
    assert {one["lfn"]: one["digest"] for one in receipt["outputs"]} == world.expected
    for one in receipt["outputs"]:
        assert one["made_by"].startswith("keg_") and one["missing"] == []
        (at,) = one["places"]
        assert at["brought_by"].startswith("stage_out") and at["url"].endswith(f"/outputs/{one['lfn']}")
    assert receipt["tasks"] == 3 and receipt["nodes"]["compute"] == 3 and receipt["failed"] == []
    assert record["checks"]["made"] >= 8 and "failed" not in record["checks"]
    found = yaml.safe_load((submitted.path / "replicas-output.yml").read_bytes())["replicas"]
    assert {one["lfn"]: one["checksum"]["sha256"] for one in found} == world.expected


def test_the_receipt_knows_names_with_a_dollar(tmp_path: Path) -> None:
    """In a specification it is written twice, in the plan once."""
    (tmp_path / "x").write_bytes(b"abc")
    done = auxiliary(tmp_path, "stage_out", transfer("a$b", tmp_path / "x", f"{tmp_path}/o/a$$b"))
    (done.start / "n.json").rename(done.start / "stage_out_0.json")
    entry = {"lfn": "a$b", "pfn": {"site": "local", "url": f"file://{tmp_path}/o/a$b"}}
    line = {**node(tmp_path), "kind": "final", "registrations": [entry]}
    last = ended(tmp_path, started(tmp_path, bundle(tmp_path, line), {}))
    assert last.code == 0 and last.record["receipt"]["missing"] == []


def test_the_receipt_is_honest_about_what_is_missing(tmp_path: Path) -> None:
    world = shapes.make("split", tmp_path, "nonsharedfs", n=2)
    submitted = plan(world, "--cleanup", "none")
    nodes = [name for name in submitted.order() if "wc" not in name or name.endswith("2")]
    verdicts = submitted.go([name for name in nodes if not name.startswith("stage_out_1")])
    assert verdicts["receipt"] == 1
    record = submitted.record("receipt")
    assert record["exit"] == 1 and "count.1" in record["receipt"]["missing"]
    assert "outputs are not where they should be" in record["error"]


def test_a_corrupted_intermediate_file_stops_those_who_use_it(tmp_path: Path) -> None:
    world = shapes.make("pipeline", tmp_path, "nonsharedfs", n=2)
    submitted = plan(world)
    order = list(submitted.order())
    at = next(n for n, name in enumerate(order) if "step" in name)
    assert not any(submitted.go(order[: at + 1]).values())
    (middle,) = (tmp_path / "scratch").rglob("stage0.txt")
    middle.write_bytes(b"?" + middle.read_bytes()[1:])
    user = next(name for name in order[at + 1 :] if "step" in name)
    assert submitted.check(user, submitted.run(user)) == 1
    assert "stage0.txt" in submitted.record(user)["error"]
    assert submitted.provenance()[-1]["record"]["checks"] == {"made": 2, "failed": 1}


def test_a_wrong_catalogued_digest_is_never_tried_again(tmp_path: Path) -> None:
    world = shapes.make("pipeline", tmp_path, "nonsharedfs", n=1)
    submitted = plan(world)
    (tmp_path / "data/in.txt").write_bytes(b"another file")
    verdicts = submitted.go()
    assert [code for name, code in verdicts.items() if name.startswith("stage_in")].count(2) == 1
    assert not dict(shapes.found(world.outputs))
