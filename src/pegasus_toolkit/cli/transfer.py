"""``pegasus-transfer``: moves the files of a specification and tells what became of them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from pegasus_toolkit.cli import options
from pegasus_toolkit.cli.console import Console

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
GARBAGE = 50_000  # objects made before cycles are looked for: next to nothing here is in one


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code (0 all done, 1 running it again may succeed, 2 it cannot).

    Without arguments, as the installed script calls it, it ends the process by itself: all is written
    and closed by then, and what libraries do at the interpreter's end costs time and can only go wrong.
    """
    if argv is None:
        gc.set_threshold(GARBAGE, 20, 50)
    try:
        arguments = options.parse(argv, os.environ)
    except SystemExit as end:  # --help, --version or a usage error, told already
        return end.code if isinstance(end.code, int) else 2
    except KeyboardInterrupt:  # nothing has begun
        return INTERRUPTED
    return run(arguments, argv is None)


def run(arguments: options.Arguments, last: bool) -> int:
    """What the arguments ask for; the exit code. ``last``: with which the process ends."""
    console = Console(sys.stderr, arguments.debug, arguments.quiet, arguments.log_format == "json")
    if arguments.log_file:
        from pegasus_toolkit.transfer.records.outfile import OutFile

        try:
            console.log = OutFile(arguments.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            console.critical(f"cannot write {arguments.log_file!r}: {error.strerror}")
            return 2
    code = 1
    try:
        code = _run(arguments, console)
    except KeyboardInterrupt as signal:
        console.critical(f"{signal or 'SIGINT'} received before anything was moved")
        console.patience = 0.5
    finally:
        if console.log is not None and (complaint := console.log.complaint("the log")):
            console.log, code = None, code or 1
            console.error(complaint)
        console.close()
    if last:
        os._exit(code)
    return code


def _run(arguments: options.Arguments, console: Console) -> int:
    from pegasus_toolkit.cli.outputs import Refused

    try:
        if arguments.submit or arguments.shards:
            from pegasus_toolkit.cli.shards import submit

            return submit(arguments, os.environ, console)
        from pegasus_toolkit.cli.run import execute

        return execute(arguments, os.environ, console)
    except Refused as refusal:
        for line in str(refusal).splitlines():
            console.critical(line)
        return refusal.code
    except Exception as error:  # noqa: BLE001  the last resort: one line, and details for those who ask
        console.critical(f"{type(error).__name__}; this is a defect: please report it, with the output of -d")
        if arguments.debug:
            import traceback

            console.lines("DEBUG", "".join(traceback.format_exception(error)).splitlines())
        return 1


if __name__ == "__main__":
    sys.exit(main())
