"""What each tool is told to do in each case: one directory of files, from here to there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.servers import ACCESS, S3, SECRET
from benchmarks.sets import File

Commands = list[list[str]]
UPSTREAM_FILES = 50  # of a set, as many as it is given: it starts several processes for each


class Programs(NamedTuple):
    """Where the programs are: directories of our command, the registry's tools, upstream's; of our command
    as it was ``before``, where that is asked for."""

    ours: Path
    tools: Path
    upstream: Path
    before: Path = Path()


class Place(NamedTuple):
    """One run: what is moved, from where, to where. ``target`` does not exist yet."""

    programs: Programs
    files: list[File]
    source: Path
    target: Path
    work: Path  # for specifications and lists
    url: str  # of the web server that serves ``source``
    s3: S3
    bucket: str  # to fill, or that holds the files

    @property
    def env(self) -> dict[str, str]:
        """The servers' places and credentials, for every tool."""
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": self.s3.endpoint}
        remote |= {"ACCESS_KEY_ID": ACCESS, "SECRET_ACCESS_KEY": SECRET}
        return {
            **{f"RCLONE_CONFIG_S_{key}": value for key, value in remote.items()},
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_HTTP_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "PEGASUS_CREDENTIALS": str(self.work / "credentials.conf"),
        }


class Tool(NamedTuple):
    """A competitor (or ourselves): its name in the table, and its commands for one run."""

    name: str
    commands: Callable[[Place], Commands]


def ends(case: str, place: Place, file: File) -> tuple[str, str]:
    """Source and destination URL of a file."""
    source, target = f"file://{place.source}/{file.path}", f"file://{place.target}/{file.path}"
    remote = f"s3://bench@bench/{place.bucket}/{file.path}"
    return {
        "local": (source, target),
        "http": (f"{place.url}/{file.path}", target),
        "s3 up": (source, remote),
        "s3 down": (remote, target),
    }[case]


def specification(case: str, place: Place, verified: bool, files: list[File]) -> Path:
    """Writes the files as a specification; ``verified``: each with its expected sha256 and size."""
    entries = []
    for number, file in enumerate(files):
        source, target = ends(case, place, file)
        entry = {
            "type": "transfer",
            "id": number + 1,
            "linkage": "input",
            "lfn": file.path,
            "src_urls": [{"site_label": "bench" if source.startswith("s3") else "local", "url": source}],
            "dest_urls": [{"site_label": "bench" if target.startswith("s3") else "local", "url": target}],
        }
        if verified:
            entry |= {"checksum": {"type": "sha256", "value": file.sha256}, "size": file.size}
        entries.append(entry)
    path = place.work / "spec.json"
    path.write_text(json.dumps(entries))
    return path


def ours(case: str, before: bool = False) -> Callable[[Place], Commands]:
    """Every file against its expected sha256, taken while it is moved."""

    def commands(place: Place) -> Commands:
        spec = specification(case, place, True, place.files)
        program = place.programs.before if before else place.programs.ours
        return [[f"{program}/pegasus-transfer", "-f", str(spec)]]

    return commands


def upstream(case: str) -> Callable[[Place], Commands]:
    """Without digests: it can take them only of whole files afterwards, or not at all."""

    def commands(place: Place) -> Commands:
        spec = specification(case, place, False, place.files)
        # one attempt: it waits for minutes before the next. It looks for its other command on PATH.
        path = f"PATH={place.programs.upstream}:/usr/bin:/bin"
        return [["env", path, f"{place.programs.upstream}/pegasus-transfer", "-m", "1", "-f", str(spec)]]

    return commands


def copy(place: Place) -> Commands:
    return [["cp", "-r", str(place.source), str(place.target)]]


def copy_and_digest(place: Place) -> Commands:
    names = [str(place.target / file.path) for file in place.files]
    return [*copy(place), ["openssl", "dgst", "-sha256", *names]]


def curl(place: Place) -> Commands:
    """One file plainly; several with eight connections."""
    argv = [["curl", "--silent", "--show-error", "--fail", "--create-dirs"]]
    if len(place.files) == 1:
        path = place.files[0].path
        return [[*argv[0], f"{place.url}/{path}", "--output", f"{place.target}/{path}"]]
    config = place.work / "curl.conf"
    config.write_text(
        "".join(f'url="{place.url}/{f.path}"\noutput="{place.target}/{f.path}"\n' for f in place.files)
    )
    return [[*argv[0], "--parallel", "--parallel-max", "8", "--config", str(config)]]


def rclone(source: str, target: str) -> Callable[[Place], Commands]:
    """``rclone copy`` with its defaults."""

    def commands(place: Place) -> Commands:
        names = {"source": place.source, "target": place.target, "bucket": place.bucket}
        program = f"{place.programs.tools}/rclone"
        return [[program, "copy", source.format(**names), target.format(**names)]]

    return commands


def s5cmd(up: bool) -> Callable[[Place], Commands]:
    """``s5cmd cp`` with its defaults."""

    def commands(place: Place) -> Commands:
        program = [f"{place.programs.tools}/s5cmd", "--endpoint-url", place.s3.endpoint, "--log", "error"]
        if up:
            return [[*program, "cp", f"{place.source}/", f"s3://{place.bucket}/"]]
        return [[*program, "cp", f"s3://{place.bucket}/*", f"{place.target}/"]]

    return commands


OURS, UPSTREAM = "pegasus-transfer (ours)", "pegasus-transfer 5.1.3 †"
BEFORE = "before"

CASES: dict[str, list[Tool]] = {
    "local": [
        Tool(OURS, ours("local")),
        Tool("cp", copy),
        Tool("cp + openssl dgst", copy_and_digest),
        Tool("rclone", rclone("{source}", "{target}")),
        Tool(UPSTREAM, upstream("local")),
    ],
    "http": [
        Tool(OURS, ours("http")),
        Tool("curl", curl),
        Tool("rclone", rclone(":http:", "{target}")),
        Tool(UPSTREAM, upstream("http")),
    ],
    "s3 up": [
        Tool(OURS, ours("s3 up")),
        Tool("rclone", rclone("{source}", "S:{bucket}")),
        Tool("s5cmd", s5cmd(up=True)),
        Tool(UPSTREAM, upstream("s3 up")),
    ],
    "s3 down": [
        Tool(OURS, ours("s3 down")),
        Tool("rclone", rclone("S:{bucket}", "{target}")),
        Tool("s5cmd", s5cmd(up=False)),
        Tool(UPSTREAM, upstream("s3 down")),
    ],
}
