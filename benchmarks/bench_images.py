"""An image of a registry on loopback to an archive: our own client beside skopeo and podman.

usage: python -m benchmarks.bench_images [--rounds 5] [--layers 5] [--ours DIR]

All by ``pegasus-transfer``, the others by ``tool`` in the registry's section, with an empty store each time.
A layer has 40 MiB, of which 20 do not compress. Rounds alternate; medians and all times are told.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.servers import podman, registry
from tests.servers.common import free_port, listens, program, public_directory, running

MIB = 1 << 20


def seconds(home: Path, ours: str, host: str, tool: str) -> float:
    """Of one pull into an empty store."""
    place = home / f"store-{time.monotonic_ns()}"
    conf = home / ".pegasus" / "credentials.conf"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(f"[{host}]\nplain_http = yes\n" + (f"tool = {tool}\n" if tool else ""))
    conf.chmod(0o600)
    (home / "storage.conf").write_text(podman.STORAGE.format(place=place))
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "CONTAINERS_CONF": str(home / "containers.conf")}
    env["CONTAINERS_STORAGE_CONF"] = str(home / "storage.conf")
    target = home / "image.tar"
    target.unlink(missing_ok=True)
    began = time.monotonic()
    argv = [f"{ours}/pegasus-transfer", f"docker://{host}/bench/image:1", str(target)]
    subprocess.run(argv, env=env, check=True, capture_output=True)
    took = time.monotonic() - began
    subprocess.run(["podman", "rmi", "--all", "--force"], env=env, check=False, capture_output=True)
    shutil.rmtree(place, ignore_errors=True)
    return took


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--ours", default=".venv/bin")
    told = parser.parse_args()
    with public_directory("bench-") as home:
        port = free_port()
        text = registry.CONFIGURATION.format(data=home / "data", port=port, more="")
        (home / "registry.yml").write_text(text)
        runtime = next(one for one in ("runc", "crun") if shutil.which(one))
        (home / "containers.conf").write_text(podman.CONFIGURATION.format(runtime=runtime))
        argv = [program("docker-registry"), "serve", str(home / "registry.yml")]
        with running(argv, home / "registry.log", lambda: listens(port)):
            host = f"127.0.0.1:{port}"
            with closing(HTTPConnection(host)) as connection:
                store = registry.Registries(host, "", "", home / "data", None, connection)
                noise = random.Random(1)
                tars = [
                    registry.layer(f=noise.randbytes(20 * MIB) + bytes(20 * MIB)) for _ in range(told.layers)
                ]
                store.push("bench/image", "1", registry.image(*tars))
            times: dict[str, list[float]] = {"": [], "skopeo": [], "podman": []}
            for _ in range(told.rounds):
                for tool, found in times.items():
                    found.append(seconds(home, str(Path(told.ours).absolute()), host, tool))
            for tool, found in times.items():
                every = " ".join(f"{one:.2f}" for one in found)
                print(f"{tool or 'our own client':16} {statistics.median(found):7.2f} s   ({every})")


if __name__ == "__main__":
    main()
