"""``pegasus-transfer-plugin``: HTCondor moves a job's URLs with this engine.

HTCondor calls it in two ways, and no others are promised to anybody::

    plugin -classad                              which schemes it speaks
    plugin -infile FILE -outfile FILE [-upload]  moves what FILE asks for, tells what became of it
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pegasus_toolkit import __version__

USAGE = """\
usage: pegasus-transfer-plugin -classad
       pegasus-transfer-plugin -infile FILE -outfile FILE [-upload]

A file-transfer plugin of HTCondor: in a submit file
  transfer_plugins = s3,davs=/path/of/pegasus-transfer-plugin
  transfer_input_files = s3://joe@site/bucket/key
exit codes: 0 all files moved, 1 not all"""
PROTOCOL = 4


class _Arguments(NamedTuple):
    infile: str
    outfile: str
    upload: bool


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. As the installed script calls it, it ends the process itself."""
    words = sys.argv[1:] if argv is None else list(argv)
    abandoned = 0
    if words in (["-classad"], ["--classad"]):
        sys.stdout.write(capabilities())
        code = 0
    elif words and words[0] in ("-h", "-help", "--help", "--version"):
        print(f"pegasus-toolkit {__version__}" if words[0] == "--version" else USAGE)
        code = 0
    elif (arguments := _parsed(words)) is None:
        print(USAGE, file=sys.stderr)
        code = 1
    else:
        code, abandoned = _run(arguments, os.environ)
    if argv is None or abandoned:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code


def capabilities() -> str:
    """The plugin's own ad, in the old form, an attribute a line."""
    lines = (
        "MultipleFileSupport = true",
        'PluginType = "FileTransfer"',
        f'PluginVersion = "{__version__}"',
        f"ProtocolVersion = {PROTOCOL}",
        f'SupportedMethods = "{",".join(schemes())}"',
    )
    return "\n".join((*lines, ""))


def schemes() -> list[str]:
    """All remote schemes whose library is here."""
    from pegasus_toolkit.schemes import SCHEMES
    from pegasus_toolkit.transfer.backends import opener
    from pegasus_toolkit.transfer.errors import Unsupported

    found = []
    for scheme, known in SCHEMES.items():
        if not (known.module and known.plugin) or (known.tool and not _installed(known.tool)):
            continue
        with suppress(Unsupported):
            opener(scheme)
            found.append(scheme)
    return found


def _installed(module: str) -> bool:
    """Whether there is such a module, for this Python or the system's."""
    from importlib.util import find_spec

    return find_spec(module) is not None or any(Path("/usr/lib/python3/dist-packages").glob(f"{module}*"))


def _parsed(words: Sequence[str]) -> _Arguments | None:
    """``None`` for what makes no sense."""
    names: dict[str, str] = {}
    upload, rest = False, list(words)
    while rest:
        word = rest.pop(0)
        if word == "-upload":
            upload = True
        elif word in ("-infile", "-outfile") and rest:
            names[word] = rest.pop(0)
        else:
            return None
    return _Arguments(names["-infile"], names["-outfile"], upload) if len(names) == 2 else None


def _run(arguments: _Arguments, environ: Mapping[str, str]) -> tuple[int, int]:
    """Exit code, and how many threads hang."""
    from pegasus_toolkit.cli import plugin_ads, plugin_run

    abandoned, ads = 0, []
    try:
        result = plugin_run.run(arguments.infile, arguments.upload, environ)
        ads, abandoned = result.ads, result.abandoned
        failures = [f"{ad['TransferUrl']}: {ad['TransferError']}" for ad in result.failed]
    except (OSError, plugin_ads.AdError) as error:
        failures = [f"cannot read {arguments.infile}: {error}"]
        ads = [_nothing(failures[0])]
    except Exception as error:  # noqa: BLE001  the last resort: HTCondor has to be told something
        failures = [f"{type(error).__name__}; this is a defect of the plugin: please report it"]
        ads = [_nothing(failures[0])]
    try:
        _answer(arguments.outfile, plugin_ads.encode(ads))
    except OSError as error:
        failures.append(f"cannot write {arguments.outfile}: {error.strerror}")
    from pegasus_toolkit.transfer import redact

    for line in failures:
        print(f"pegasus-transfer-plugin: {redact.message(line)}", file=sys.stderr)
    return (1 if failures else 0), abandoned


def _nothing(why: str) -> dict[str, object]:
    """The answer when it is not even known for which files."""
    data = {"ErrorType": "Parameter", "PluginVersion": __version__, "PluginLaunched": True}
    return {
        "TransferUrl": "",
        "TransferFileName": "",
        "TransferSuccess": False,
        "TransferError": why,
        "TransferErrorData": [{"ErrorCode": 1, "ErrorString": why, "Retryable": -1, **data}],
    }


def _answer(path: str, data: bytes) -> None:
    """Writes over what is there: HTCondor made room for it beforehand, for when the disk is full."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        file.truncate()


if __name__ == "__main__":
    sys.exit(main())
