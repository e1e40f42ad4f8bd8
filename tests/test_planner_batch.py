"""Sites that are batch systems behind HTCondor: which one, and what their jobs ask of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.planner_files import contents, expanded
from tests.planner_world import LOCAL, job, named, planned, site, world, wrong

JOBS = [job("a", ("in",), ("out!",))]


def cluster(grid_resource: str = "", *grids: dict[str, str], style: str = "glite", **pegasus: str) -> Any:
    """A site of that style."""
    found = site("cluster", style=style, **{"auxillary.local": "true"}, **pegasus)
    if grid_resource:
        found["profiles"]["condor"] = {"grid_resource": grid_resource}
    return {**found, "grids": list(grids)} if grids else found


def grid(contact: str, scheduler: str = "slurm") -> dict[str, str]:
    return {"type": "batch", "contact": contact, "scheduler": scheduler, "jobtype": "compute"}


def submitted(root: Path, one: Any, configuration: str = "condorio") -> dict[str, str]:
    """How the job is submitted, as HTCondor's own parser reads it."""
    dag = planned(world(root, JOBS, sites=(LOCAL, one)), configuration, sites=("cluster",))
    return expanded(contents(dag), "keg_a")


@pytest.mark.parametrize(
    ("one", "resource"),
    [
        (cluster("batch slurm"), "batch slurm"),
        (cluster("Batch PBS"), "batch pbs"),
        (cluster("pbs"), "batch pbs"),
        (cluster("batch slurm", grid("head.example.org")), "batch slurm"),
        (cluster("batch slurm joe@head.example.org"), "batch slurm joe@head.example.org"),
        (cluster("batch slurm localhost"), "batch slurm"),
        (cluster("", grid("localhost", "SLURM")), "batch slurm"),
        (cluster("", grid("local", "pbs")), "batch pbs"),
        (cluster("", grid("head.example.org", "sge")), "batch sge"),
        (cluster("", grid("joe@head.example.org", "sge")), "batch sge joe@head.example.org"),
        (cluster("", grid("head.example.org", "PBS"), style="ssh"), "batch pbs head.example.org"),
        (cluster("batch slurm joe@head", style="ssh"), "batch slurm joe@head"),
    ],
)
def test_the_batch_system_is_what_the_catalog_means(tmp_path: Path, one: Any, resource: str) -> None:
    told = submitted(tmp_path, one)
    assert (told["universe"], told["grid_resource"]) == ("grid", resource)


def test_a_universe_of_ones_own_is_as_good_as_a_style(tmp_path: Path) -> None:
    one = cluster("batch slurm", style="condor")
    one["profiles"]["condor"]["universe"] = "grid"
    assert submitted(tmp_path, one)["grid_resource"] == "batch slurm"


def test_the_submit_hosts_own_carries_nothing(tmp_path: Path) -> None:
    told = submitted(tmp_path, cluster("batch slurm"))
    assert "transfer_input_files" not in told and "transfer_output_files" not in told
    assert told["transfer_executable"] == "false"
    assert told["arguments"].endswith('.jsonl --node keg_a --records /submit/records"')
    dag = planned(tmp_path, "condorio", sites=("cluster",))
    text = contents(dag)["jobs/compute-0000.jsonl"]
    assert '"outbox"' not in text and '"delivered"' not in text and '"sources"' in text


def test_one_elsewhere_gets_its_files_by_htcondor(tmp_path: Path) -> None:
    told = submitted(tmp_path, cluster("batch slurm joe@head", style="ssh"))
    assert "/s/local/joe/pegasus/w/R1/in" in told["transfer_input_files"]
    assert told["transfer_output_files"].startswith("out/") and told["transfer_executable"] == "true"


def test_a_contact_that_is_not_used_is_told(tmp_path: Path) -> None:
    one = cluster("", grid("head.example.org"))
    dag = planned(world(tmp_path, JOBS, sites=(LOCAL, one)), "condorio", sites=("cluster",))
    (text,) = (text for text in dag.warnings if "contact" in text)
    assert "'head.example.org' is not used" in text and "style ssh" in text


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (cluster(), "needs to know the batch system"),
        (cluster("condor there collector.there"), "needs to know the batch system"),
        (cluster("batch slrum"), "unknown batch system 'slrum'"),
        (cluster("batch slurm", style="ssh"), "style 'ssh' needs the host to log in to"),
        (cluster("batch slurm", runtime="ten"), "expected a whole number, found 'ten'"),
        (cluster("batch slurm", **{"glite.arguments": "-x a\\tb"}), "text without backslashes"),
    ],
)
def test_what_is_not_understood_is_an_error(tmp_path: Path, one: Any, text: str) -> None:
    (problem,) = wrong(world(tmp_path, JOBS, sites=(LOCAL, one)), "condorio", sites=("cluster",))
    assert text in problem


ASKED: list[tuple[dict[str, str], dict[str, str]]] = [
    ({"queue": "q", "project": "p"}, {"batch_queue": "q", "batch_project": "p"}),
    ({"runtime": "61"}, {"batch_runtime": "120"}),
    ({"runtime": "61", "maxwalltime": "5"}, {"batch_runtime": "300"}),
    ({"memory": "2048"}, {"request_memory": "2048"}),
    ({"nodes": "3", "ppn": "4"}, {"MY.NodeNumber": "12", "MY.SMPGranularity": "4", "MY.HostNumber": "3"}),
    ({"glite.arguments": "-C a$b 'c d'"}, {"batch_extra_submit_args": "-C a$b 'c d'"}),
    ({"glite.arguments": "--qos long\n --mem 2G"}, {"batch_extra_submit_args": "--qos long  --mem 2G"}),
]


@pytest.mark.parametrize(("asked", "told"), ASKED)
def test_what_is_asked_for_is_told(tmp_path: Path, asked: dict[str, str], told: dict[str, str]) -> None:
    found = submitted(tmp_path, cluster("batch slurm", **asked))
    assert told.items() <= found.items()


def test_older_catalogs_ask_in_the_namespace_globus(tmp_path: Path) -> None:
    one = cluster("batch pbs", project="newer")
    one["profiles"]["globus"] = {"maxwalltime": "2", "hostcount": "2", "xcount": "8", "project": "older"}
    told = submitted(tmp_path, one)
    assert (told["batch_runtime"], told["MY.NodeNumber"], told["batch_project"]) == ("120", "16", "newer")


@pytest.mark.parametrize(
    ("asked", "seconds"), [({"runtime": "61"}, 120), ({"maxwalltime": "5"}, 300), ({}, None)]
)
def test_the_worker_ends_a_program_before_the_batch_system_does(
    tmp_path: Path, asked: dict[str, str], seconds: int | None
) -> None:
    one = cluster("batch slurm", **asked)
    dag = planned(world(tmp_path, JOBS, sites=(LOCAL, one)), "condorio", sites=("cluster",))
    (node,) = named(dag, "keg")
    assert node.tasks[0].walltime == seconds
    # Elsewhere it says how long a job is expected to take, and no more.
    pool = site("cluster", style="condor", runtime="61")
    dag = planned(world(tmp_path, JOBS, sites=(LOCAL, pool)), "condorio", sites=("cluster",))
    assert named(dag, "keg")[0].tasks[0].walltime is None


def test_jobs_in_a_cluster_take_the_time_of_all(tmp_path: Path) -> None:
    jobs = [job(f"j{n}", ("in",), (f"out{n}!",)) for n in range(4)]
    one = cluster("batch slurm", runtime="60", **{"clusters.size": "4"})
    root = world(tmp_path, jobs, sites=(LOCAL, one))
    dag = planned(root, "nonsharedfs", sites=("cluster",), clusterers=("horizontal",))
    (node,) = named(dag, "merge")
    assert expanded(contents(dag), node.name)["batch_runtime"] == "240"


@pytest.mark.parametrize("universe", ["local", "scheduler", "container", "docker"])
def test_a_universe_that_is_not_for_jobs_elsewhere_is_vanilla(tmp_path: Path, universe: str) -> None:
    one = site("cluster", style="condor")
    one["profiles"]["condor"] = {"universe": universe}
    assert submitted(tmp_path, one)["universe"] == "vanilla"
