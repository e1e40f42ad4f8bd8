"""HTCondor by its Python bindings, where its commands are not on PATH."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pegasus_toolkit.engines.htcondor.schedd import Job, NoPool, NotInstalled, Schedd, Submission, text


class Bindings:
    """Raises :class:`NotInstalled` where there are none."""

    way = "the Python bindings"

    def __init__(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that there is no configuration
                self._module: ModuleType = importlib.import_module("htcondor2")
        except ImportError:
            raise NotInstalled("neither condor_submit_dag nor the Python module htcondor2 is here") from None

    def submit(self, submission: Submission) -> int:
        module = self._module
        with _told(module):
            return int(module.Schedd().submit(self.described(submission)).cluster())

    def start(self, description: str) -> int:
        module = self._module
        with _told(module):
            return int(module.Schedd().submit(module.Submit(description)).cluster())

    def described(self, submission: Submission) -> Any:
        """DAGMan's job, as the bindings have it; its submit file is written beside the DAG."""
        module = self._module
        options: dict[str, bool | str] = {"UpdateSubmit": True}
        if submission.inherited:
            options["include_env"] = ",".join(submission.inherited)
        with _told(module):
            # DAGMan is looked for on PATH, where it is not: then the commands would be there, too.
            options["dagman"] = f"{module.param['BIN']}/condor_dagman"
            found = module.Submit.from_dag(submission.dag, options)
            for name, value in submission.attributes.items():
                found[f"MY.{name}"] = text(value)
            return found

    def jobs(self, constraint: str) -> list[Job]:
        module = self._module
        with _told(module):
            found = module.Schedd().query(constraint=constraint, projection=["ClusterId", "UserLog"])
            return [Job(int(one["ClusterId"]), str(one.get("UserLog", ""))) for one in found]

    def remove(self, cluster: int) -> None:
        module = self._module
        with _told(module):
            module.Schedd().act(module.JobAction.Remove, f"ClusterId == {cluster}", reason="pegasus-remove")


@contextmanager
def _told(module: ModuleType) -> Iterator[None]:
    """What the bindings raise, as :class:`NoPool`."""
    try:
        yield
    except (module.HTCondorException, RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        raise NoPool(f"HTCondor: {' '.join(str(error).split()) or type(error).__name__}") from None


_: type[Schedd] = Bindings
