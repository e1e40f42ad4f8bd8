"""The specification: read, checked as a whole, and written. These names are imported when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pegasus_toolkit.transfer.spec.specification import (
        Problem,
        Specification,
        SpecificationError,
        encode,
        load,
        mkdir,
        remove,
        transfer,
    )

__all__ = ["Problem", "Specification", "SpecificationError", "encode", "load", "mkdir", "remove", "transfer"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.specification"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
