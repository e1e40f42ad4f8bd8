"""``pegasus-transfer --protocols``: told by the table and by what is installed, with extras missing, too."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pegasus_toolkit.cli.protocols import look
from pegasus_toolkit.schemes import BRINGS, SCHEMES
from tests.command import run


def program(directory: Path, name: str, says: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (directory / name).chmod(0o755)


def test_every_scheme_that_something_moves_is_told(tmp_path: Path) -> None:
    done = run("--protocols", "--json", cwd=tmp_path)
    assert done.returncode == 0
    found = json.loads(done.stdout)
    told = [scheme for one in found for scheme in one["schemes"]]
    assert [name for name, scheme in SCHEMES.items() if scheme.module and name not in told] == []
    (web,) = [one for one in found if "https" in one["schemes"]]
    assert web["works"] and not web["writes"]
    assert web["by"] == [{"name": "pycurl", "version": metadata.version("pycurl")}]


def test_the_table_is_for_people(tmp_path: Path) -> None:
    done = run("--protocols", cwd=tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split()[:4] == ["file,", "symlink,", "moveto", "works"]
    assert any(line.startswith("s3, s3s ") and "pycurl" in line for line in lines)


def test_what_is_missing_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name in {"pycurl", "paramiko", "globus-sdk", "cryptography"}:
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "version", version)
    found = {one.schemes[0]: one for one in look({"PATH": str(tmp_path)})}
    assert not found["http"].works
    assert found["http"].bring == ("pip install 'pegasus-toolkit[http]'",)
    assert found["go"].missing == ("globus-sdk",)
    assert not found["scp"].works
    assert found["scp"].bring == ("pip install 'pegasus-toolkit[ssh]'", BRINGS["ssh"])
    assert not found["gsiftp"].works, "who is at a data connection is not known without"
    assert found["gsiftp"].bring == ("pip install 'pegasus-toolkit[gridftp]'",)
    assert found["sshftp"].missing == ("ssh",)
    program(tmp_path, "ssh", "OpenSSH_9.9p1 Debian, OpenSSL 3.0.1")
    found = {one.schemes[0]: one for one in look({"PATH": str(tmp_path)})}
    assert found["scp"].works, "either of both will do"
    assert found["scp"].by == (("ssh", "9.9p1"),)
    assert found["scp"].bring == ()


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from pegasus_toolkit.cli.transfer import main; code = main(['--protocols']);"
        "heavy = {'pycurl', 'globus_sdk', 'paramiko', 'fsspec', 'google', 'XRootD', 'tenacity',"
        " 'cryptography'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_json_alone_makes_no_sense(tmp_path: Path) -> None:
    done = run("--json", cwd=tmp_path)
    assert done.returncode == 2
    assert "--json goes with --protocols" in done.stderr
