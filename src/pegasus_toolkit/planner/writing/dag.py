"""The ``.dag`` file, as DAGMan reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pegasus_toolkit.planner.model import Dag, Node
from pegasus_toolkit.planner.writing import jobs, quoting
from pegasus_toolkit.planner.writing.submit import Submission, Submits

_CATEGORIES = {
    "stage_in": "stagein",
    "stage_out": "stageout",
    "cleanup": "cleanup",
    "register": "registration",
}
_MAXJOBS = {"stagein": "10", "stageout": "10", "cleanup": "4", "registration": "1"}
_PRIORITIES = {"cleanup": 1000, "stage_out": 900, "register": 850, "create_dir": 800, "stage_in": 700}
_RETRIES = {"compute": "1", "subworkflow": "1"}  # of all others: 3
NEVER_AGAIN = 2  # the exit code of what no repetition mends


def render(dag: Dag, submits: Submits) -> str:
    """The whole file."""
    lines = [
        f"# {dag.workflow.name!a}, run {dag.settings.run}, planned by pegasus-plan",
        f"CONFIG {dag.settings.submit}/dagman.config",
    ]
    if not dag.nodes:  # all is there already; a DAG has to have a node
        lines.append(f"JOB nothing_to_do {dag.settings.submit}/submit/final.sub NOOP")
    for node in dag.nodes:
        lines += _node(dag, node, submits.of.get(node.name))
    lines += _final(dag, submits.of[jobs.FINAL])
    for node in dag.nodes:
        parents = dag.parents[node.name]
        if parents:
            lines.append(f"PARENT {' '.join(parents)} CHILD {node.name}")
    wanted = {**_MAXJOBS, **_own_limits(dag)}
    lines += [f"MAXJOBS {name} {most}" for name, most in wanted.items()]
    return "\n".join(lines) + "\n"


def _node(dag: Dag, node: Node, submission: Submission | None) -> Iterator[str]:
    name, dagman = node.name, node.profiles.get("dagman", {})
    settings = dag.settings
    if node.subdag is not None:
        where = f" DIR {node.subdag.directory}" if node.subdag.directory else ""
        yield f"SUBDAG EXTERNAL {name} {node.subdag.dag}{where}"
        what = f"@{settings.submit}/jobs/{name}.args" if node.subdag.plan else f"--mend {node.subdag.dag}"
        yield from _pre(dag, node, f"{settings.planner} {what}")
        if node.hooks:
            yield f"SCRIPT POST {name} {_hooked(dag, name)} end $RETURN"
    elif submission is not None:
        noop = " NOOP" if dagman.get("noop", "").lower() == "true" else ""
        yield f"JOB {name} {settings.submit}/submit/{submission.file}{noop}"
        yield _vars(name, submission)
        yield from _pre(dag, node, f"{dagman.get('pre', '')} {dagman.get('pre.arguments', '')}".strip())
        yield from _post(dag, node, dagman, checked=not noop)
    everywhere = settings.profiles.get("dagman", {}).get("retry")
    retries = dagman.get("retry") or everywhere or _RETRIES.get(node.kind, "3")
    yield f"RETRY {name} {retries} UNLESS-EXIT {NEVER_AGAIN}"
    category = dagman.get("category") or _CATEGORIES.get(node.kind)
    if category:
        yield f"CATEGORY {name} {category}"
    priority = dagman.get("priority") or node.profiles.get("condor", {}).get("priority")
    yield f"PRIORITY {name} {priority or _PRIORITIES.get(node.kind, 10 * node.level)}"
    if dagman.get("abort-dag-on"):
        yield f"ABORT-DAG-ON {name} {dagman['abort-dag-on']}"


def _vars(name: str, submission: Submission) -> str:
    values = (f"{key}={quoting.vars_value(value)}" for key, value in submission.variables.items())
    return f"VARS {name} {' '.join(values)}"


HOOKS = "hooks.json"  # the users' own commands, by node; "" for the whole workflow
# Upstream's own scripts, which look at a record as --check does.
_POSTS = ("", "none", "pegasus-exitcode", "exitpost")


def _hooked(dag: Dag, name: str) -> str:
    return f"{dag.settings.worker} --hook {dag.settings.submit}/jobs/{HOOKS} {name}"


def _pre(dag: Dag, node: Node, own: str) -> Iterator[str]:
    """The PRE script: hooks on the start of the node, and of the workflow that begins with it; ``own``."""
    script = own
    if any(hook.on in ("start", "all") for hook in node.hooks):
        script = f"{_hooked(dag, node.name)} start" + (f" --then {own}" if own else "")
    if not dag.parents[node.name] and any(hook.on in ("start", "all") for hook in dag.workflow.hooks):
        script = f"{_hooked(dag, '-')} start" + (f" --then {script}" if script else "")
    if script:
        yield f"SCRIPT PRE {node.name} {script}"


def _post(dag: Dag, node: Node, dagman: Mapping[str, str], checked: bool) -> Iterator[str]:
    """The POST script: the record is ``checked``, hooks on the end are run; then the user's own."""
    settings, own = dag.settings, _own_post(dagman)
    if checked:
        hooks = f" --hooks {settings.submit}/jobs/{HOOKS}" if node.hooks else ""
        script = f"{settings.worker} --check {settings.submit}/records/{node.name}.json $RETURN{hooks}"
        own = script + (f" --then {own}" if own else "")
    if own:
        yield f"SCRIPT POST {node.name} {own}"


def _own_post(dagman: Mapping[str, str]) -> str:
    """The user's POST script and its arguments; "" for none."""
    named = dagman.get("post", "")
    path = dagman.get(f"post.path.{named.lower()}", named)
    if path.rpartition("/")[2] in _POSTS or dagman.get("post.scope", "").lower() == "none":
        return ""
    return f"{path} {dagman.get('post.arguments', '')}".rstrip()


def _final(dag: Dag, submission: Submission) -> Iterator[str]:
    name, settings = jobs.FINAL, dag.settings
    record = f"{settings.submit}/records/{name}.json"
    hooks = f" --hooks {settings.submit}/jobs/{HOOKS}" if dag.workflow.hooks else ""
    yield f"FINAL {name} {settings.submit}/submit/{submission.file}"
    yield _vars(name, submission)
    yield f"SCRIPT POST {name} {settings.worker} --check {record} $RETURN $DAG_STATUS $FAILED_COUNT{hooks}"


def _own_limits(dag: Dag) -> dict[str, str]:
    """``dagman.CATEGORY.maxjobs`` in the properties."""
    table = dag.settings.profiles.get("dagman", {})
    return {key.removesuffix(".maxjobs"): value for key, value in table.items() if key.endswith(".maxjobs")}


_LIMITS = {
    "maxidle": "MAX_JOBS_IDLE",
    "maxpre": "MAX_PRE_SCRIPTS",
    "maxpost": "MAX_POST_SCRIPTS",
    "maxjobs": "MAX_JOBS_SUBMITTED",
}


def config(dag: Dag) -> str:
    """DAGMan's own settings for this run."""
    table = dag.settings.profiles.get("dagman", {})
    # A queue that went down may run a job again that had ended, and say so: no reason to end the DAG (1, but
    # for jobs that run again: 4).
    lines = ["DAGMAN_GENERATE_SUBDAG_SUBMITS = TRUE", "DAGMAN_ALLOW_EVENTS = 5"]
    lines += [
        f"DAGMAN_{name} = {table[key]}" for key, name in _LIMITS.items() if table.get(key, "").isdecimal()
    ]
    return "\n".join(lines) + "\n"
