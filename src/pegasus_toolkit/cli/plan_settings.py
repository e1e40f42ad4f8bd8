"""What the options of ``pegasus-plan``, the properties and the environment mean together."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import msgspec

from pegasus_toolkit.cli import plan_options
from pegasus_toolkit.planner.catalogs import LOCAL, Pfn
from pegasus_toolkit.planner.model import CONFIGURATIONS, Above, Configuration, PlanError, Problem, Settings
from pegasus_toolkit.planner.reading import properties as reading
from pegasus_toolkit.planner.reading.load import DEFAULTS, Given

_CLEANUPS: Mapping[str, Literal["inplace"]] = {"constraint": "inplace"}
_MAP = "pegasus.dir.storage.mapper.replica.file"
_FILES = re.compile(
    r"pegasus\.(catalog\.[a-z.]+\.file|catalog\.replica\.directory|dir\.storage\.mapper\.replica\.file)"
)
_CONFIGURATION = "pegasus.data.configuration"
_COMMON_FILES = "pegasus.condor.common.files"
_REUSES = ("none", "partial", "full")
_CLUSTERERS = ("horizontal", "label", "whole")
_YES = ("true", "yes", "1")


class Found(NamedTuple):
    """``pegasus.properties``: where it was found ("" nowhere), what it says, what is wrong with it."""

    file: str
    values: dict[str, str]
    problems: list[Problem]


def above(file: str | None, cwd: str) -> Above:
    """What the workflow above tells; of one that is planned by itself, where it is planned."""
    if file is None:
        return Above(base=cwd)
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=Above)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise PlanError([Problem("--above", (), f"{file} cannot be read: {error}")]) from None


def given(arguments: argparse.Namespace, above: Above) -> tuple[Given, list[Problem]]:
    """What the command line adds to the catalogs."""
    reused, problems = [], []
    for directory in _listed(arguments.reuse):
        catalogs = _registered(Path(above.base, directory))
        reused += catalogs
        if not catalogs:
            message = f"{directory} is no submit directory with registered outputs"
            problems.append(Problem("--reuse", (), message))
    found = Given(
        inputs=_listed(arguments.input_dir),
        caches=_listed(arguments.cache),
        inherited=(*_listed(arguments.inherited_rc_files), *reused),
        programs=_listed(arguments.transformations_dir),
        planning=above.files,
        workflows=above.workflows,
    )
    return found, problems


def _registered(submit: Path) -> list[str]:
    """The catalogs that a run registered its outputs in: ours, or those of Pegasus' own planner."""
    try:
        named = [str(json.loads((submit / "plan.json").read_bytes())["catalog"])]
    except (OSError, ValueError, KeyError, TypeError):
        named = [str(submit / one) for one in _names(submit) if one.endswith(".replicas.yml")]
    return [one for one in named if os.path.exists(one)]  # noqa: PTH110  False for what can be no path


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except (OSError, ValueError):
        return []


def properties(arguments: argparse.Namespace, above: Above, environ: Mapping[str, str]) -> Found:
    """What ``-D`` says, above what ``--conf`` or the working directory has, above ``~/.pegasusrc``.

    The catalogs of a workflow above are below all of them.
    """
    cwd = above.base
    named, defined = arguments.conf and above.files.get(arguments.conf, arguments.conf), arguments.define
    file = named or "pegasus.properties"
    values: dict[str, str] = dict(above.catalogs)
    problems: list[Problem] = []
    home = [f"{environ['HOME']}/.pegasusrc"] if environ.get("HOME") else []
    for one in (*home, file):
        try:
            text = Path(cwd, one).read_bytes().decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            wrong_byte = f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
            problems.append(Problem(one, (), wrong_byte, line))
            continue
        except (OSError, ValueError) as error:
            if (named and one == file) or not isinstance(error, FileNotFoundError):
                message = f"cannot be read: {getattr(error, 'strerror', None) or error}"
                problems.append(Problem(one, (), message))
            continue
        found, wrong = reading.read(one, text, environ)
        values |= found
        problems += wrong
    for one in defined:
        key, equals, value = one.partition("=")
        values[key.strip()] = value.strip()
        if not equals:
            problems.append(Problem("-D", (), f"expected KEY=VALUE, found {one!r}"))
        elif any("\ud800" <= c <= "\udfff" for c in one):
            problems.append(Problem("-D", (), f"expected UTF-8, found {one!r}"))
    if getattr(arguments, "json", False):  # Pegasus' API: its wait() fails at blocked jobs
        values.setdefault(_COMMON_FILES, "false")
    if getattr(arguments, "output_map", None):  # an option of planning alone
        values |= {"pegasus.dir.storage.mapper": "Replica", _MAP: arguments.output_map}
    return Found(file, reading.with_mode(values), problems)


def settings(
    arguments: argparse.Namespace, found: Found, environ: Mapping[str, str], above: Above, name: str
) -> tuple[Settings, list[Problem]]:
    """What options and properties mean together, and what is wrong with them."""
    values, cwd = found.values, above.base
    check = _Choices(found.file)
    configuration = check.one(values, _CONFIGURATION, CONFIGURATIONS, "condorio")
    integrity = check.one(values, "pegasus.integrity.checking", ("none", "full", "nosymlink"), "full")
    reuse = check.one(values, "pegasus.data.reuse.scope", _REUSES, "full")
    run = f"{time.strftime('%Y%m%dT%H%M%S')}-{secrets.token_hex(4)}"
    user = plain(environ.get("USER") or environ.get("LOGNAME") or "user")
    staging, wrong = _staging(arguments.staging_site)
    submit = _submit(arguments, cwd, f"{user}/pegasus/{plain(name)}")
    settings = Settings(
        configuration=cast("Configuration", configuration),
        submit=submit,
        run=run,
        scratch=f"{user}/pegasus/{plain(name)}/{run}",
        relative=os.path.relpath(submit, Path(cwd, arguments.dir)),
        prefix=arguments.job_prefix,
        sites=_listed(arguments.sites),
        output_sites=_output_sites(arguments),
        staging=staging,
        output_directory=os.path.normpath(Path(cwd, arguments.output_dir)) if arguments.output_dir else "",
        clusterers=check.all("--cluster", arguments.cluster, _CLUSTERERS),
        cleanup="none" if arguments.nocleanup else _CLEANUPS.get(arguments.cleanup, arguments.cleanup),
        reuse="none" if arguments.force else cast("Literal['none', 'partial', 'full']", reuse),
        integrity=integrity != "none",
        register=values.get("pegasus.register", "true").lower() in _YES,
        bypass=values.get("pegasus.transfer.bypass.input.staging", "").lower() in _YES,
        common=_catalogs(values, environ, configuration),
        properties=_absolute(values, above),
        profiles=reading.profiles(values),
        environ={"UID": str(os.getuid()), **environ},
        exists=None if arguments.no_check_replicas else _exists,
        here=os.path.exists,
        secret=secret,
        section=sections(environ),
        makes_sif=any(shutil.which(name, path=environ.get("PATH")) for name in ("apptainer", "singularity")),
        worker=beside("pegasus-worker"),
        planner=beside("pegasus-plan"),
        base=cwd,
        above=above,
        options=plan_options.given,
    )
    return settings, [*check.problems, *wrong]


def _catalogs(values: Mapping[str, str], environ: Mapping[str, str], configuration: str) -> bool:
    """Whether the pool carries files that jobs share once; asking HTCondor takes 10 ms."""
    from pegasus_toolkit.engines.htcondor import schedd

    wanted = values.get(_COMMON_FILES, "").lower()
    if wanted or configuration != "condorio":  # the worker alone is worth it where somebody says so
        return wanted in _YES
    return schedd.version(environ) >= schedd.COMMON_FILES


class _Choices:
    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def one(self, values: Mapping[str, str], key: str, choices: Sequence[str], default: str) -> str:
        value = values.get(key, default).lower()
        if value not in choices:
            expected = f"expected one of {', '.join(choices)}, found {values[key]!r}"
            self.problems.append(Problem(self.file, (key,), expected))
        return value if value in choices else default

    def all(self, option: str, value: str, choices: Sequence[str]) -> tuple[str, ...]:
        wanted = _listed([value])
        for one in wanted:
            if one not in choices:
                expected = f"expected {' or '.join(choices)}, found {one!r}"
                self.problems.append(Problem(option, (), expected))
        return tuple(one for one in wanted if one in choices)


def _listed(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for value in values for one in value.split(",") if one))


def _staging(values: Sequence[str]) -> tuple[dict[str, str], list[Problem]]:
    found: dict[str, str] = {}
    problems = []
    for one in _listed(values):
        site, equals, staging = one.rpartition("=")
        if equals and not (site and staging):
            problems.append(Problem("--staging-site", (), f"expected SITE=STAGING, found {one!r}"))
        found[site] = staging
    return found, problems


def _absolute(values: Mapping[str, str], above: Above) -> dict[str, str]:
    """With catalogs' files as seen from anywhere: sub-workflows have properties of their own."""

    def path(name: str) -> str:
        return os.path.normpath(Path(above.base, above.files.get(name, name)))

    found = {f"pegasus.catalog.{kind}.file": names for kind, names in DEFAULTS.items()}
    there = {key: name for key, names in found.items() for name in names[::-1] if Path(path(name)).exists()}
    values = {**there, **values}
    return {k: path(v) if _FILES.fullmatch(k) else v for k, v in values.items()}


def _submit(arguments: argparse.Namespace, cwd: str, parent: str) -> str:
    """The submit directory: as asked for, else the next free ``USER/pegasus/NAME/run0001``."""
    base = Path(cwd, arguments.dir)
    if arguments.relative_dir:
        return os.path.normpath(base / str(arguments.relative_dir))
    try:
        taken = [entry.name for entry in (base / parent).iterdir()]
    except OSError:
        taken = []
    numbers = [int(one[3:]) for one in taken if re.fullmatch(r"run[0-9]+", one)]
    return os.path.normpath(base / parent / f"run{max(numbers, default=0) + 1:04d}")


def _output_sites(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Into one directory everything goes once, however many sites were named."""
    sites = _listed(arguments.output_sites) or (LOCAL,)
    return sites[:1] if arguments.output_dir else sites


def plain(name: str) -> str:
    """``name`` as a part of a path that DAGMan takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".") or "workflow"


def _exists(pfn: Pfn) -> bool | None:
    """Whether a replica on the submit host is there; of others nothing is known."""
    if pfn.site != "local" or not pfn.url.startswith("file://"):
        return None
    return os.path.exists(pfn.url[7:])  # noqa: PTH110  False for what can be no path


def secret(path: str) -> str:
    """What is wrong with a credential file, "" for nothing."""
    from pegasus_toolkit.credentials.errors import CredentialError
    from pegasus_toolkit.credentials.files import check_private

    try:
        check_private(Path(path), "")
    except CredentialError as error:
        return str(error)
    return ""


def sections(environ: Mapping[str, str]) -> Callable[[Pfn], bool]:
    """Whether the credentials file has a section for a URL's server. A broken file is told when used."""

    def section(pfn: Pfn) -> bool:
        from pegasus_toolkit.credentials import CredentialError, Credentials

        scheme, _, rest = pfn.url.partition("://")
        try:
            return bool(Credentials.load(environ).options(scheme, rest.partition("/")[0], pfn.site))
        except CredentialError:
            return True

    return section


def beside(program: str) -> str:
    """The program as it is installed with this one."""
    here = Path(sys.executable).parent / program
    return str(here) if here.exists() else shutil.which(program) or str(here)
