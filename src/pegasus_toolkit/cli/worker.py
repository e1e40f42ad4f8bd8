"""``pegasus-worker``: does the work of one node of a planned workflow, or judges how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

USAGE = """\
usage: pegasus-worker --bundle FILE --node NAME [--records DIR]
       pegasus-worker --check RECORD RETURN [DAG_STATUS FAILED] [--hooks FILE]
                      [--then PROGRAM ...]
       pegasus-worker --hook FILE NODE start|end [RETURN] [--then PROGRAM ...]
       pegasus-worker --pack FILE [--extra NAME,...] [--python X.Y]...

Does what the bundle FILE says of the node NAME, in the directory that it is
started in, and leaves NAME.json (the record) and NAME.meta (digests) there, or
in DIR; or decides from a job's record and exit code what became of it; or packs
itself into one file that needs nothing but Python where it runs.

exit codes: 0 done; 1 another try may mend it; 2 none will."""


_NODES_FAILED = "2"  # DAGMan's status of a DAG


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code. As the installed script calls it, it ends the process itself."""
    words = list(sys.argv[1:] if argv is None else argv)
    code = _script(words)
    if argv is None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _script(words: list[str]) -> int:
    """As a script of DAGMan's, with hooks and a script of the user's own."""
    if "--then" in words:
        at = words.index("--then")
        return _then(_script(words[:at]), words[at + 1 :])
    if words[-2:-1] == ["--hooks"] and words[:1] == ["--check"]:
        return _hooked(words[-1], words[1], _main(words[:-2]))
    if words[:1] == ["--hook"] and len(words) in (4, 5) and _whole([*words, "0"][4]):
        return _hook(words[1], words[2], words[3], int([*words, "0"][4]))
    return _main(words)


def _main(words: list[str]) -> int:
    # Not argparse: this starts for every node and its POST script, and that would take 10 ms each time.
    if words[:1] == ["--check"] and len(words) in (3, 4, 5) and _whole(words[2]):
        return _check(words[1], int(words[2]), words[3:])
    options = _options(words)
    if options is not None and options.keys() - {"--records"} == {"--bundle", "--node"}:
        return _run(options["--bundle"], options["--node"], options.get("--records", ""))
    if words[:1] == ["--pack"]:
        return _pack(words)
    return _other(words)


def _other(words: list[str]) -> int:
    """What no node asks for."""
    if words in (["--help"], ["-h"]):
        print(USAGE)
        return 0
    if words in (["--version"], ["-V"]):
        from pegasus_toolkit import __version__

        print(f"pegasus-toolkit {__version__}")
        return 0
    if words[:1] in (["-classad"], ["-infile"], ["-outfile"], ["-upload"]):
        # HTCondor's words: the packed file serves as its file-transfer plugin, too.
        from pegasus_toolkit.cli.plugin import main as plugin

        return plugin(words)
    print(USAGE, file=sys.stderr)
    return 2


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _options(words: Sequence[str]) -> dict[str, str] | None:
    """``--name value`` pairs; ``None`` where that is not what stands there."""
    names = words[::2]
    if len(words) % 2 or any(name[:2] != "--" for name in names) or len(set(names)) < len(names):
        return None
    return dict(zip(names, words[1::2], strict=True))


def _run(bundle: str, node: str, records: str) -> int:
    from pegasus_toolkit.worker import node as one
    from pegasus_toolkit.worker.failure import Failed
    from pegasus_toolkit.worker.stopping import Stopping

    try:
        with Stopping() as stop:
            start = records or os.getcwd()  # noqa: PTH109
            told = one.run(bundle, node, start, os.environ, stop, shared=bool(records))
    except Failed as error:
        print(f"pegasus-worker: {error}", file=sys.stderr)
        return error.exit
    except OSError as error:
        print(f"pegasus-worker: the record cannot be written: {error}", file=sys.stderr)
        return 1
    if told.exit:
        print(f"pegasus-worker: {node}: {told.error}", file=sys.stderr)
    return told.exit


def _pack(words: list[str]) -> int:
    import argparse

    parser = argparse.ArgumentParser(prog="pegasus-worker", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--python", action="append", default=[])
    try:
        options = parser.parse_args(words)
    except SystemExit:
        return 2
    try:
        from pegasus_toolkit.worker.pack import archive
        from pegasus_toolkit.worker.pack.sources import CannotPack
    except ModuleNotFoundError:
        print("pegasus-worker: a packed worker cannot pack another", file=sys.stderr)
        return 2
    try:
        extras = [one for text in options.extra for one in text.split(",") if one]
        archive.pack(options.pack, extras, [one for text in options.python for one in text.split(",")])
    except CannotPack as error:
        print(f"pegasus-worker: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"pegasus-worker: {options.pack} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _then(code: int, words: Sequence[str]) -> int:
    """Runs what the user wants to be run after it; its exit code counts where all was well before."""
    import subprocess

    try:
        done = subprocess.run(words, check=False).returncode
    except OSError as error:
        print(f"pegasus-worker: {words[0]}: {error.strerror}", file=sys.stderr)
        done = 1
    return code or (done if done >= 0 else 1)


def _hooked(file: str, record: str, code: int) -> int:
    """Hooks on the end of the node whose record it is, or, of the last one, on that of the workflow."""
    from pegasus_toolkit.planner.writing.jobs import FINAL

    node = os.path.basename(record).removesuffix(".json")  # noqa: PTH119
    return _hook(file, "-" if node == FINAL else node, "end", code)


def _hook(file: str, node: str, event: str, code: int) -> int:
    """The code that was given: whatever comes of hooks changes nothing of the run."""
    from pegasus_toolkit.worker import hooks

    try:
        hooks.run(file, node, event, code, os.environ)
    except (OSError, ValueError) as error:
        print(f"pegasus-worker: hooks of {node}: {error}", file=sys.stderr)
    return code if 0 <= code < 256 else 1


def _check(record: str, code: int, rest: Sequence[str]) -> int:
    from pegasus_toolkit.worker.verdict import check

    try:
        verdict = check(record, code, rest)
    except OSError as error:
        print(f"pegasus-worker: the verdict cannot be noted: {error}", file=sys.stderr)
        return 1
    if verdict.code:
        print(f"pegasus-worker: {verdict.why}", file=sys.stderr)
    if rest[:1] == [_NODES_FAILED]:
        _go_on(record)
    return verdict.code


def _go_on(record: str) -> None:
    """At the end of a run that DAGMan makes and nobody waits for: damaged files are to be made again."""
    cluster = os.environ.get("CONDOR_ID", "").partition(".")[0]
    if not cluster.isdecimal() or "PEGASUS_RUN_ATTENDED" in os.environ:
        return
    import subprocess

    directory = os.path.dirname(os.path.dirname(record))  # noqa: PTH120
    program = os.path.join(os.path.dirname(sys.argv[0]), "pegasus-run")  # noqa: PTH118, PTH120
    try:
        subprocess.run([program, "-q", "--later", cluster, directory], check=False)
    except OSError as error:
        print(f"pegasus-worker: {program} cannot be run: {error.strerror}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
