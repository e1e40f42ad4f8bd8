"""A real Slurm of two nodes on loopback, both of them this machine, with a munge of its own."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers.common import free_port, program, public_directory, running

CONFIGURATION = """
ClusterName=loop
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
AuthType=auth/munge
AuthInfo=socket={home}/socket
CryptoType=crypto/munge
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/controller.pid
SlurmdPidFile={home}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0,default_queue_depth=100
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
NodeName=one NodeHostname={host} NodeAddr=127.0.0.1 Port={one} CPUs=8 RealMemory=16000 Feature=fast
NodeName=two NodeHostname={host} NodeAddr=127.0.0.1 Port={two} CPUs=8 RealMemory=16000
PartitionName=normal Nodes=one,two Default=YES MaxTime=INFINITE State=UP
PartitionName=other Nodes=one,two MaxTime=INFINITE State=UP
"""


class Slurm:
    """``environ``: of its commands."""

    def __init__(self, configuration: Path) -> None:
        self.environ = {**os.environ, "SLURM_CONF": str(configuration)}

    def run(self, *words: str | Path, directory: Path | None = None) -> str:
        """What a command of Slurm's prints. Raises where it fails."""
        done = subprocess.run(
            words, env=self.environ, cwd=directory, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def ready(self) -> bool:
        """Whether both nodes take jobs."""
        words = ("sinfo", "-h", "-N", "-t", "idle", "-p", "normal", "-o", "%N")
        done = subprocess.run(words, env=self.environ, capture_output=True, text=True, check=False)
        return done.stdout.split() == ["one", "two"]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """The whole of it, run by the user of the tests."""
    munged, controller, node = program("munged"), program("slurmctld"), program("slurmd")
    program("sbatch")
    ports = {name: free_port() for name in ("controller", "one", "two")}
    with ExitStack() as stack:
        home = stack.enter_context(public_directory("slurm-"))
        (home / "state").mkdir()
        (home / "key").write_bytes(os.urandom(1024))
        (home / "key").chmod(0o400)
        told = {"home": home, "user": getpass.getuser(), "host": socket.gethostname().split(".")[0]}
        (home / "slurm.conf").write_text(CONFIGURATION.format(**told, **ports))
        files = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        words = [
            munged,
            "--foreground",
            "--force",
            *(f"--{key}={home}/{name}" for key, name in files.items()),
        ]
        stack.enter_context(running(words, home / "munged.out", (home / "socket").exists))
        found = Slurm(home / "slurm.conf")
        daemons = {"controller": [controller], "one": [node, "-N", "one"], "two": [node, "-N", "two"]}
        for name, words in daemons.items():
            # All is there when the last one is.
            ready = found.ready if name == "two" else lambda: True
            stack.enter_context(running([*words, "-D"], home / f"{name}.out", ready, env=found.environ))
        yield found
