"""Wrote the YAML files beside it, with Pegasus' own API (pegasus-wms-api 5.1): ``python make.py`` in here.

It says as much as the API can, so that what is read is what Pegasus writes.
"""

from Pegasus.api import (
    OS,
    Arch,
    Container,
    Directory,
    File,
    FileServer,
    Grid,
    Job,
    Namespace,
    Operation,
    Properties,
    ReplicaCatalog,
    Scheduler,
    Site,
    SiteCatalog,
    SubWorkflow,
    Transformation,
    TransformationCatalog,
    TransformationSite,
    Workflow,
)

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


def directory(kind, path, *urls):
    made = Directory(kind, path)
    for url, operation in urls:
        made.add_file_servers(FileServer(url, operation))
    return made


def main() -> None:
    write_sites()
    write_replicas()
    write_transformations()
    write_workflow()


def write_sites() -> None:
    sites = SiteCatalog()
    local = Site("local", arch=Arch.X86_64, os_type=OS.LINUX)
    local.add_directories(
        directory(Directory.SHARED_SCRATCH, "/s/local", ("file:///s/local", Operation.ALL)),
        directory(Directory.LOCAL_STORAGE, "/s/out", ("file:///s/out", Operation.ALL)),
    )
    pool = Site("pool", arch=Arch.X86_64, os_type=OS.LINUX)
    pool.add_directories(
        directory(
            Directory.SHARED_SCRATCH,
            "/lustre",
            ("https://dav.example.org/lustre", Operation.PUT),
            ("http://cache.example.org/lustre", Operation.GET),
        )
    )
    pool.add_condor_profile(universe="vanilla", request_memory="2 GB").add_env(SITE_WIDE="pool")
    slurm = Site("slurm-1", arch=Arch.X86_64, os_type=OS.LINUX)
    slurm.add_grids(Grid(Grid.BATCH, contact="localhost", scheduler_type=Scheduler.SLURM))
    slurm.add_directories(directory(Directory.SHARED_SCRATCH, "/gpfs", ("file:///gpfs", Operation.ALL)))
    slurm.add_pegasus_profile(style="glite", queue="normal", auxillary_local=True)
    sites.add_sites(local, pool, slurm)
    sites.write("sites.yml")


def write_replicas() -> None:
    replicas = ReplicaCatalog()
    replicas.add_replica("local", File("f.a"), "/data/f.a", checksum={"sha256": HELLO}, metadata={"size": 5})
    replicas.add_replica("pool", "f.a", "https://dav.example.org/f.a")
    replicas.add_regex_replica("local", r"raw_(\d+)\.dat", "/data/raw/[1]/[0]")
    replicas.add_replica("local", "inner.yml", "/data/inner.yml")
    replicas.add_replica("local", "planned.dag", "/data/planned.dag")
    replicas.write("replicas.yml")


def write_transformations() -> None:
    programs = TransformationCatalog()
    image = "https://img.example.org/box.sif"
    box = Container("box", Container.SINGULARITY, image, mounts=["/scratch:/scratch:ro"])
    box.add_env(INSIDE="1")
    hub = Container("hub", Container.DOCKER, "docker://example/image:1")
    programs.add_containers(box, hub)
    helper = Transformation("helper", site="local", pfn="/bin/helper", is_stageable=True)
    process = Transformation("process", namespace="ns", version="1.0", checksum={"sha256": HELLO})
    process.add_sites(
        TransformationSite(
            "local", "/bin/process", is_stageable=True, arch=Arch.X86_64, os_type=OS.LINUX, container=box
        )
    )
    process.add_requirement(helper).add_pegasus_profile(cores=2, memory="4 GB", runtime=600, max_walltime=30)
    ready = Transformation("ready", site="pool", pfn="/opt/ready", is_stageable=False, container=hub)
    ready.add_pegasus_profile(clusters_size=3)
    programs.add_transformations(helper, process, ready)
    programs.write("transformations.yml")


def write_workflow() -> None:
    flow = Workflow("everything")
    flow.add_env(EVERYWHERE='a "quoted" value').add_metadata(author="somebody")
    first = Job("process", namespace="ns", version="1.0", _id="ID1", node_label="first")
    first.add_args("-i", File("f.a"), "--text", "'two words'", 1e-5, "1e3", "-n 3", "$HOME")
    first.add_inputs(File("f.a"), bypass_staging=True)
    first.add_inputs("raw_7.dat")
    first.add_outputs(File("mid 1$x", size=10), stage_out=False, register_replica=False)
    first.add_outputs("deep/er/mid2", stage_out=True, register_replica=False)
    first.set_stdout("first.log", stage_out=True).add_dagman_profile(retry="5", category="heavy")
    first.add_profiles(Namespace.CONDOR, requirements='(Arch == "X86_64")')
    flow.add_jobs(first)
    for n in range(4):
        job = Job("ready", _id=f"R{n}").add_inputs("mid 1$x").add_outputs(f"end{n}").add_args(n)
        job.add_selector_profile(execution_site="pool")
        flow.add_jobs(job)
    inner = SubWorkflow("inner.yml", False, _id="SUB").add_args("--output-sites", "local", "-v")
    inner.add_inputs("end0").add_outputs("inner.out")
    planned = SubWorkflow("planned.dag", True, _id="DAG")
    flow.add_jobs(inner, planned)
    flow.add_dependency(inner, children=[planned])
    flow.write("workflow.yml")

    properties = Properties()
    properties["pegasus.data.configuration"] = "nonsharedfs"
    properties["dagman.stagein.maxjobs"] = "3"
    properties.write("pegasus.properties")


main()
