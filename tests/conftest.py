"""Fixtures that all tests may use: the real servers, one module each."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

# Ignored under nohup and in a shell's background; what tests start must be as others start it.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

QUARANTINE = Path(__file__).with_name("quarantine.txt")

pytest.register_assert_rewrite("tests.conformance_read", "tests.conformance_write")

pytest_plugins: list[str] = [
    "tests.servers.pki",
    "tests.servers.nginx",
    "tests.servers.sshd",
    "tests.servers.odd_http",
    "tests.http_world",
    "tests.command_spec",
    "tests.servers.seaweed",
    "tests.s3_world",
    "tests.servers.gcs",
    "tests.gs_world",
    "tests.servers.globus",
    "tests.servers.irods",
    "tests.servers.grid_pki",
    "tests.servers.rucio",
    "tests.servers.webdav",
    "tests.servers.ftp",
    "tests.servers.xrootd",
    "tests.servers.xrootd_https",
    "tests.servers.gridftp",
    "tests.servers.srm_stub",
    "tests.servers.htcondor",
    "tests.servers.slurm",
    "tests.servers.registry",
    "tests.servers.podman",
    "tests.servers.osdf",
    "tests.servers.fdt",
    "tests.image_world",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in quarantine may fail, by name and with their cause; nothing is run a second time in silence."""
    known = {item.nodeid: item for item in items}
    files = {nodeid.partition("::")[0] for nodeid in known}
    for line in QUARANTINE.read_text().splitlines():
        name, _, cause = line.partition("  # ")
        if not name or name.startswith("#"):
            continue
        if name in known and cause:
            known[name].add_marker(pytest.mark.xfail(reason=f"quarantine: {cause}", strict=False))
        elif name.partition("::")[0] in files and len(items) > len(files):
            raise pytest.UsageError(f"{QUARANTINE.name}: no such test, or no cause: {line}")
