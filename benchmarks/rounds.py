"""Rounds: in each, every tool moves the same files once; what arrived is checked every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure, sets
from benchmarks.servers import ACCESS, S3, SECRET, nginx, seaweedfs
from benchmarks.tools import CASES, UPSTREAM, UPSTREAM_FILES, Place, Programs, Tool


class Plan(NamedTuple):
    """What is to be measured."""

    cases: list[str]
    tools: dict[str, list[Tool]]  # of each case
    sets: list[str]
    shapes: dict[str, sets.Shape]
    rounds: int
    exits: int  # runs of each kind to see whether all end cleanly


class Field:
    """A directory with the servers up; makes a fresh ``Place`` for each run."""

    def __init__(self, root: Path, programs: Programs, url: str, s3: S3) -> None:
        self.root = root
        self.programs = programs
        self.url = url
        self.s3 = s3
        self.source = root / "source"
        self.numbers = count()

    def bucket(self) -> str:
        """A new bucket whose first write is over: the server makes its volumes then."""
        name = f"bench-{next(self.numbers)}"
        self.s3.make(name)
        self.s3.warm(name)
        return name

    def place(self, files: list[sets.File], bucket: str) -> Place:
        """Nothing is at its target."""
        target = self.root / f"target-{next(self.numbers)}"
        return Place(self.programs, files, self.source, target, self.root / "work", self.url, self.s3, bucket)


@contextmanager
def field(root: Path, programs: Programs) -> Iterator[Field]:
    """Servers and directories below ``root``, which is removed at the end."""
    root.mkdir(parents=True)
    root.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        (root / "source").mkdir()
        (root / "work").mkdir()
        url = stack.enter_context(nginx(root / "nginx", root / "source"))
        s3 = stack.enter_context(seaweedfs(root / "s3"))
        credentials = root / "work" / "credentials.conf"
        credentials.touch(mode=0o600)
        credentials.write_text(
            f"[bench]\nendpoint = {s3.endpoint}\n\n"
            f"[bench@bench]\naccess_key = {ACCESS}\nsecret_key = {SECRET}\n"
        )
        yield Field(root, programs, url, s3)


def measured(ground: Field, plan: Plan) -> Iterator[dict[str, Any]]:
    """One record for each run, as soon as it is over."""
    for name in plan.sets:
        shutil.rmtree(ground.source)
        ground.source.mkdir()
        files = sets.make(ground.source, plan.shapes[name])
        for case in plan.cases:
            kept = filled(ground, files) if case == "s3 down" else ""
            for number in range(plan.rounds):
                tools = plan.tools[case]
                turn = number % len(tools)  # nobody is always the first
                for tool in tools[turn:] + tools[:turn]:
                    if tool.name == UPSTREAM and number > 0:
                        continue
                    record = {"case": case, "set": name, "tool": tool.name, "round": number}
                    yield record | one(ground, case, tool, files, kept)
            if kept:
                ground.s3.drop(kept)


def filled(ground: Field, files: list[sets.File]) -> str:
    """A bucket that holds the files."""
    bucket = ground.bucket()
    upload = next(tool for tool in CASES["s3 up"] if tool.name == "s5cmd")
    place = ground.place(files, bucket)
    done = measure.run(upload.commands(place), place.env)
    if done.code != 0:
        raise sets.Wrong(f"could not fill the bucket: {done.output}")
    check_bucket(place)
    return bucket


def one(ground: Field, case: str, tool: Tool, files: list[sets.File], kept: str) -> dict[str, Any]:
    """Runs a tool once, checks what arrived, clears away. Gives what it took; "error" where it is wrong."""
    if tool.name == UPSTREAM:
        files = files[:UPSTREAM_FILES]
    place = ground.place(files, kept or (ground.bucket() if case == "s3 up" else ""))
    usage = measure.run(tool.commands(place), place.env)
    record = {**usage._asdict(), "output": "", "files": len(files), "bytes": sum(file.size for file in files)}
    try:
        if usage.code != 0:
            raise sets.Wrong(f"exit {usage.code}: {usage.output}")
        if case == "s3 up":
            check_bucket(place)
        else:
            sets.check(place.target, files)
    except (sets.Wrong, OSError, subprocess.CalledProcessError) as error:
        record["error"] = str(error)
    finally:
        shutil.rmtree(place.target, ignore_errors=True)
        if case == "s3 up":
            ground.s3.drop(place.bucket)
    return record


def check_bucket(place: Place) -> None:
    """Names and sizes of all objects, digests of a sample, as another tool sees them. Raises ``Wrong``."""
    rclone = f"{place.programs.tools}/rclone"
    environ = {"PATH": "/usr/bin:/bin", **place.env}
    listing = subprocess.run(
        [rclone, "lsjson", "-R", "--files-only", "--no-modtime", "--no-mimetype", f"S:{place.bucket}"],
        env=environ,
        check=True,
        capture_output=True,
    )
    found = {entry["Path"]: entry["Size"] for entry in json.loads(listing.stdout)}
    sets.compare(found, {file.path: file.size for file in place.files})
    for file in sets.sample(place.files)[:5]:
        digest = hashlib.sha256()
        argv = [rclone, "cat", f"S:{place.bucket}/{file.path}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env=environ) as process:
            assert process.stdout is not None
            while block := process.stdout.read(sets.BLOCK):
                digest.update(block)
        if process.returncode != 0 or digest.hexdigest() != file.sha256:
            raise sets.Wrong(f"{place.bucket}/{file.path}: wrong digest in the bucket")
