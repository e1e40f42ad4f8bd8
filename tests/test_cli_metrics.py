"""What other programs see: Prometheus' own parser reads the metrics, OpenTelemetry's exporter the spans."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from pegasus_toolkit.cli.metrics import Unavailable
from pegasus_toolkit.cli.traces import Traces
from pegasus_toolkit.transfer.engine.engine import Engine, Options
from pegasus_toolkit.transfer.errors import NotFound
from tests.command import entry, environment, run, start, write
from tests.servers.common import free_port
from tests.servers.odd_http import Answer, Odd, Reply
from tests.worlds import World, fill, move

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample, by name and labels."""
    return {
        (sample.name.removeprefix("pegasus_transfer_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """Three files, one that is missing, and a directory of two."""
    (tmp_path / "d").mkdir()
    for name in ("a", "b", "c", "d/x", "d/y"):
        (tmp_path / name).write_bytes(b"12345")
    entries = [entry(tmp_path / name, tmp_path / "out" / name) for name in ("a", "b", "missing", "d")]
    return write(tmp_path / "spec", [*entries, entry(tmp_path / "c", tmp_path / "out" / "c", size=5)])


def test_the_text_file(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--metrics", "run.prom", cwd=tmp_path)
    assert done.returncode == 2
    found = samples((tmp_path / "run.prom").read_text())
    assert found["operations_total", (("status", "done"),)] == 4
    assert found["operations_total", (("status", "failed"),)] == 1
    assert found["failures_total", (("host", "localhost"), ("kind", "not found"))] == 1
    assert found["bytes_total", ()] == 25
    assert found["verified_files_total", (("by", "size"),)] == 3
    assert found["verified_files_total", (("by", "nothing"),)] == 2
    assert (found["files_known", ()], found["files_over", ()], found["exit_code", ()]) == (6, 6, 2)
    assert found["end_time_seconds", ()] >= found["start_time_seconds", ()] > 1.7e9
    assert (tmp_path / "run.prom").stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def test_the_endpoint_answers_while_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 << 20))
    (tmp_path / "rate").write_text("100k")
    spec = write(tmp_path / "spec", [entry(tmp_path / "large", tmp_path / "copy")])
    port = free_port()
    arguments = ("-f", spec, "--metrics-listen", str(port), "--bandwidth", "@rate")
    with start(*arguments, cwd=tmp_path) as process:
        try:
            found: Samples = {}
            while not found.get(("bytes_total", ())):
                found = _asked(port) if process.poll() is None else pytest.fail("ended early")
            (tmp_path / "rate").write_text("off")
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert found["size_bytes", ()] == 20 << 20
    assert ("exit_code", ()) not in found


def _asked(port: int) -> Samples:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return samples(answer.read().decode())
    except OSError:
        time.sleep(0.02)
        return {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metrics", "no/such/m"), "cannot write"),
        (("--metrics", "."), "cannot write"),
        (("--metrics-listen", "x"), "is not [HOST:]PORT"),
        (("--metrics", "same", "--report", "same"), "a name of its own"),
    ],
)
def test_what_cannot_be_is_told_before(
    tmp_path: Path, spec: Path, options: tuple[str, ...], message: str
) -> None:
    done = run("-f", spec, *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_port_that_is_taken(tmp_path: Path, spec: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("-f", spec, "--metrics-listen", f"127.0.0.1:{port}", cwd=tmp_path)
    assert done.returncode == 2
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in done.stderr


@contextmanager
def without(package: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment in which that package cannot be imported."""
    (tmp_path / "shadow" / package).mkdir(parents=True)
    (tmp_path / "shadow" / package / "__init__.py").write_text(f"raise ImportError('no', name='{package}')")
    yield environment(PYTHONPATH=str(tmp_path / "shadow"))


@pytest.mark.parametrize(
    ("options", "package", "extra"),
    [
        (("--metrics", "m"), "prometheus_client", "metrics"),
        (("--traces",), "opentelemetry", "traces"),
    ],
)
def test_what_is_not_installed_is_named(
    tmp_path: Path, spec: Path, options: tuple[str, ...], package: str, extra: str
) -> None:
    with without(package, tmp_path) as environ:
        argv = [sys.executable, "-m", "pegasus_toolkit.cli.transfer", "-f", str(spec), *options]
        done = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"need {package}: pip install 'pegasus-toolkit[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


# -- traces ------------------------------------------------------------------------------------------


def test_spans_of_a_run() -> None:
    world, exporter = World(), InMemorySpanExporter()
    fill(world, "a", 2)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traces = Traces({"TRACEPARENT": parent}, exporter)
    operations = [move(n, f"remote://a/f{n}?sig=secret", f"memory://b/g{n}", lfn=f"f{n}") for n in range(3)]
    operations[0] = move(0, "remote://a/f0", "memory://b/g0", lfn="f0")
    engine = Engine(Options(first_delay=0.001), world.settings, [traces], world.open)
    summary = engine.run(operations)
    assert traces.finish(summary.exit_code) is None
    spans = {
        str(span.attributes["pegasus.lfn"]): span
        for span in exporter.get_finished_spans()
        if span.attributes and "pegasus.lfn" in span.attributes
    }
    (root,) = [span for span in exporter.get_finished_spans() if span.name == "pegasus-transfer"]
    assert format(root.context.trace_id, "032x") == parent.split("-")[1]
    assert root.parent is not None
    assert root.status.status_code is StatusCode.ERROR
    good, bad = spans["f0"], spans["f2"]
    assert good.parent is not None
    assert good.parent.span_id == root.context.span_id
    assert good.attributes is not None
    assert (good.attributes["pegasus.bytes"], good.attributes["pegasus.status"]) == (10, "done")
    assert good.start_time is not None
    assert good.end_time is not None
    assert good.start_time <= good.end_time
    assert bad.attributes is not None
    assert bad.attributes["error.type"] == NotFound("x").kind
    assert [event.name for event in bad.events] == ["attempt failed"]
    assert "secret" not in "".join(span.to_json() for span in spans.values())


def test_the_exporter_is_the_one_that_is_named(tmp_path: Path, spec: Path) -> None:
    done = run("-f", spec, "--traces", cwd=tmp_path, env={"OTEL_TRACES_EXPORTER": "console"})
    assert done.returncode == 2
    names = [one["name"] for one in _objects(done.stdout)]
    assert sorted(names) == ["pegasus-transfer", *["transfer"] * 7]
    with pytest.raises(Unavailable, match="no exporter for traces is called 'nonesuch'"):
        Traces({"OTEL_TRACES_EXPORTER": "nonesuch"})


def test_a_collector_gets_spans_by_otlp(tmp_path: Path, spec: Path, odd: Callable[[Answer], Odd]) -> None:
    """As it is where nothing but the endpoint is said; its own form of messages reads them back."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    collector = odd(lambda request: Reply(status=200))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.authority}"}
    run("-f", spec, "--traces", cwd=tmp_path, env=env)
    names: list[str] = []
    for request in collector.requests:
        assert (request.method, request.target) == ("POST", "/v1/traces")
        body = gzip.decompress(request.body) if "content-encoding" in request.headers else request.body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names += [span.name for scope in resource.scope_spans for span in scope.spans]
    assert sorted(names) == ["pegasus-transfer", *["transfer"] * 7]


def _objects(text: str) -> Iterator[dict[str, object]]:
    decoder, at = json.JSONDecoder(), 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        yield value
        while at < len(text) and text[at].isspace():
            at += 1
