"""Fixtures that all tests may use: the real servers, one module each."""

from __future__ import annotations

import signal

import pytest

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also under nohup: what tests start must be as others start it

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
    "tests.servers.grid_pki",
    "tests.servers.webdav",
    "tests.servers.ftp",
    "tests.servers.xrootd",
    "tests.servers.xrootd_https",
    "tests.servers.gridftp",
    "tests.servers.srm_stub",
    "tests.servers.htcondor",
    "tests.servers.slurm",
]
