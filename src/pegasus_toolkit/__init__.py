"""Moves scientific data between sites and proves that it arrived.

    import pegasus_toolkit as pt

    pt.copy("results/", "s3://bucket/2026/")
    pt.sync("sftp://host/data", "/scratch/data", delete=True)
    pt.verify("/scratch/data", "sftp://host/data")
    for file in pt.ls("s3://bucket/2026/", recursive=True):
        print(file.name, file.size)

``help(pegasus_toolkit.copy)`` and its like tell the rest. ``pegasus_toolkit.transfer`` is the engine below
it, for lists of operations. Names are imported when they are first used, since start-up is a feature.
"""

__version__ = "0.1.0"

_HOMES = {
    "files.api": (
        "File", "Result", "TransfersFailed", "VerificationFailed", "copy", "copy_async", "ls", "ls_async",
        "sync", "sync_async", "verify", "verify_async",
    ),
    "files.verifying": ("Difference", "Verdict"),
    "transfer.observer": ("Progress",),
    "transfer.errors": ("BadSpecification", "Denied", "NotFound", "TransferError", "Unreachable"),
    "transfer.model": ("Outcome",),
}  # fmt: skip

__all__ = ["__version__", *sorted(name for names in _HOMES.values() for name in names)]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
