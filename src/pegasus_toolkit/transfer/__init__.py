"""Specification -> routes -> bytes moved -> outcomes: the engine behind ``pegasus-transfer``.

    from pegasus_toolkit.transfer import Engine, Options, Settings, load

    settings = Settings(Credentials.load(os.environ), os.environ)
    summary = Engine(Options(), settings).run(load("spec.json", os.environ))

Names are imported when they are first used, since start-up is a feature.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.engine.engine import Engine, Options
    from pegasus_toolkit.transfer.interface import Settings
    from pegasus_toolkit.transfer.model import Attempt, Checksum, Location, Mkdir, Outcome, Remove, Transfer
    from pegasus_toolkit.transfer.observer import Observer, Plan, Progress, Summary
    from pegasus_toolkit.transfer.spec.specification import (
        Specification,
        SpecificationError,
        encode,
        load,
        transfer,
    )

__all__ = [
    "Attempt", "Checksum", "Engine", "Location", "Mkdir", "Observer", "Options", "Outcome", "Plan",
    "Progress", "Remove", "Settings", "Specification", "SpecificationError", "Summary", "Transfer",
    "encode", "load", "transfer",
]  # fmt: skip

_HOMES = {
    "engine.engine": ("Engine", "Options"),
    "observer": ("Observer", "Plan", "Progress", "Summary"),
    "interface": ("Settings",),
    "model": ("Attempt", "Checksum", "Location", "Mkdir", "Outcome", "Remove", "Transfer"),
    "spec.specification": ("Specification", "SpecificationError", "encode", "load", "transfer"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
