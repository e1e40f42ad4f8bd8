"""The command ``pegasus-integrity``: digests of files, and files against the digests they should have."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help
from pegasus_toolkit.integrity import digests

if TYPE_CHECKING:
    from pegasus_toolkit.integrity.meta import Metadata
    from pegasus_toolkit.integrity.verify import Verdict

P = ParamSpec("P")
T = TypeVar("T")

EXAMPLES = """\
LIST is one or more entries with ;;; between them, or - for standard input.
An entry is PATH, or LFN=PATH where the logical name is not the path.
An equals sign in a name is fine: of all ways to read an entry, the one is taken whose
file exists (and, to verify, whose LFN the .meta files know). Two such ways are an error.
For names that hold ;;; or line ends, give - and --null, and NUL between the entries.

examples:
  pegasus-integrity --generate 'a.dat;;;b.dat'           like sha256sum
  pegasus-integrity --verify 'f.a=/data/f.a;;;f.b'       against all *.meta files in this directory
  printf 'f.a=/data/f.a\\0f.b' | pegasus-integrity --verify - --null
  pegasus-integrity --generate-manifest results > results.sha256
  pegasus-integrity --verify-manifest results.sha256 --directory results

environment:
  KICKSTART_INTEGRITY_DATA  --generate-fullstat-yaml adds its records to this file
  PEGASUS_MULTIPART_DIR     --print-timings makes a file TIME-integrity in this directory

exit status: 0 all is well; 1 a file differs, is missing or cannot be read; 2 wrong usage.
"""


class Usage(Exception):
    """The command was called in a way that makes no sense."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        _refuse(options)
        options.algorithm = digests.canonical(options.algorithm or "sha256")
        return _run(options, os.environ)
    except (Usage, digests.UnsupportedAlgorithm) as error:
        parser.error(_printable(str(error)))
    except OSError as error:  # of a single file they are told where it is met
        if not isinstance(error, BrokenPipeError):  # whoever read has seen enough
            _say(f"{error.filename or 'standard output'}: {_reason(error)}")
        # Python would try once more when it flushes at exit, complain, and change the exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pegasus-integrity",
        usage="%(prog)s ACTION [option ...]   (--help tells more)",
        description="Takes digests of files, and verifies files against the digests they should have.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    action = parser.add_argument_group("what to do (exactly one)").add_mutually_exclusive_group(required=True)
    action.add_argument("--generate", metavar="LIST", help="print the digest of each file, like sha256sum")
    action.add_argument("--generate-yaml", metavar="LIST", help="print digest and time taken as YAML")
    action.add_argument(
        "--generate-fullstat-yaml",
        metavar="LIST",
        help="kickstart's record of each file, to $KICKSTART_INTEGRITY_DATA if that is set, else printed",
    )
    action.add_argument(
        "--verify", metavar="LIST", help="check files against the *.meta files here; 'stdin' is the same as -"
    )
    action.add_argument("--generate-manifest", metavar="DIR", help="print a manifest of all files below DIR")
    action.add_argument(
        "--verify-manifest", metavar="FILE", help="check a directory: missing, extra and differing files"
    )
    action.add_argument("--generate-xmls", metavar="LIST", help=argparse.SUPPRESS)
    action.add_argument("--generate-fullstat-xmls", metavar="LIST", help=argparse.SUPPRESS)
    parser.add_argument(
        "--algorithm", metavar="NAME", help="digest to take: sha256 (default), blake3, sha512, ..."
    )
    parser.add_argument(
        "--directory", metavar="DIR", help="for --verify-manifest: where the files are (default: here)"
    )
    parser.add_argument(
        "--allow-extra", action="store_true", help="for --verify-manifest: more files are fine"
    )
    parser.add_argument("-0", "--null", action="store_true", help="entries on standard input end with NUL")
    parser.add_argument("--print-timings", action="store_true", help="for --verify: write statistics as YAML")
    parser.add_argument("--version", action="version", version=f"pegasus-toolkit {__version__}")
    parser.add_argument("--debug", action="store_true", help="print what is read and expected")
    return parser


def _refuse(options: argparse.Namespace) -> None:
    """Raises :class:`Usage` for options that do not go together."""
    if options.generate_xmls is not None or options.generate_fullstat_xmls is not None:
        raise Usage("kickstart reads no XML any more: use --generate-yaml or --generate-fullstat-yaml")
    if options.verify_manifest is None and (options.directory is not None or options.allow_extra):
        raise Usage("--directory and --allow-extra go with --verify-manifest")
    if options.verify is None and options.print_timings:
        raise Usage("--print-timings goes with --verify")
    if options.verify is not None and options.algorithm is not None:
        raise Usage("--algorithm is not for --verify: the meta data says which one is meant")


def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    if options.generate is not None:
        return _generate(_entries(options.generate, options.null, "-"), options.algorithm)
    if options.generate_yaml is not None:
        return _generate_yaml(_entries(options.generate_yaml, options.null, "-"), options.algorithm)
    if options.generate_fullstat_yaml is not None:
        entries = _entries(options.generate_fullstat_yaml, options.null, "-")
        return _generate_fullstat(entries, options.algorithm, environ.get("KICKSTART_INTEGRITY_DATA", ""))
    if options.generate_manifest is not None:
        return _generate_manifest(options.generate_manifest, options.algorithm)
    if options.verify_manifest is not None:
        return _verify_manifest(options)
    entries = _entries(options.verify, options.null, "-", "stdin")
    return _verify(entries, options, environ.get("PEGASUS_MULTIPART_DIR", ""))


def _entries(value: str, null: bool, *standard_input: str) -> list[str]:
    """The entries of a list. Raises :class:`Usage` where one is empty, so that nothing passes unseen."""
    if value in standard_input:
        text = os.fsdecode(sys.stdin.buffer.read())
        entries = text.removesuffix("\0").split("\0") if null else text.strip("\r\n").split(";;;")
    elif null:
        raise Usage("--null is for entries on standard input: give - as the list")
    else:
        entries = value.split(";;;")
    if "" in entries:
        raise Usage("no file is named" if len(entries) == 1 else "an entry of the list is empty")
    return entries


def _generate(entries: list[str], algorithm: str) -> int:
    from pegasus_toolkit.integrity import manifest

    failed = 0
    for path in entries:
        found = _tried(path, digests.of_file, path, algorithm)
        if found is None:
            failed = 1
        else:
            _out(manifest.line(path, found.digest))
    return failed


def _generate_yaml(entries: list[str], algorithm: str) -> int:
    from pegasus_toolkit.integrity import kickstart

    failed = 0
    for entry in entries:
        pair = _tried(entry, _pair, entry)
        found = _tried(entry, digests.of_file, pair[1], algorithm) if pair is not None else None
        if found is None:
            failed = 1
        else:
            _out(kickstart.checksum(algorithm, found.digest, found.seconds).encode() + b"\n")
    return failed


def _generate_fullstat(entries: list[str], algorithm: str, target: str) -> int:
    from pegasus_toolkit.integrity import kickstart

    failed = 0
    recorded: dict[str, str] = {}  # LFN to digest: a second record of an LFN would hide the first
    for entry in entries:
        pair = _tried(entry, _pair, entry)
        text = _tried(entry, kickstart.describe, *pair, algorithm) if pair is not None else None
        if pair is None or text is None:
            failed = 1
            continue
        digest = text.rpartition(f"{algorithm}: ")[2].split()[0]
        if pair[0] in recorded:
            if recorded[pair[0]] != digest:
                failed = 1
                _say(f"{entry}: the LFN {pair[0]!r} was recorded with other content already")
            continue
        recorded[pair[0]] = digest
        if not target:
            _out(text.encode() + b"\n")
        elif _tried(f"cannot record {entry} in {target}", kickstart.append, target, text) is None:
            failed = 1
    return failed


def _pair(entry: str) -> tuple[str, str]:
    from pegasus_toolkit.integrity import verify

    return verify.split_pair(entry, lambda _, pfn: verify.is_file(pfn))


def _generate_manifest(directory: str, algorithm: str) -> int:
    from pegasus_toolkit.integrity import manifest

    status = os.fstat(sys.stdout.fileno())  # with "> DIR/file" the manifest itself stands in the tree
    skip = {(status.st_dev, status.st_ino)}
    names = _tried(directory, lambda: list(manifest.names(directory, skip)))
    for name, why in manifest.skipped(directory) if names is not None else ():
        _say(f"{name}: left out: {why}")
    failed = int(names is None)
    for name in names or ():
        path = f"{directory}/{name}"
        found = _tried(path, digests.of_file, path, algorithm)
        if found is None:
            failed = 1
        else:
            _out(manifest.line(name, found.digest))
    return failed


def _verify_manifest(options: argparse.Namespace) -> int:
    from pegasus_toolkit.integrity import manifest

    file, algorithm = options.verify_manifest, options.algorithm
    skip: set[manifest.Identity] = set()  # the manifest may stand in the tree
    if file == "-":
        expected = _tried("-", manifest.parse, sys.stdin.buffer.read(), "standard input", algorithm)
    else:
        expected = _tried(file, manifest.read, file, algorithm)
        if expected is not None:
            status = os.stat(file)  # noqa: PTH116 - pathlib costs start-up time
            skip.add((status.st_dev, status.st_ino))
    if not expected:
        if expected is not None:
            _say(f"{file}: no file is named in the manifest")
        return 1
    failed = 0
    for difference in manifest.verify(options.directory or ".", expected, algorithm, skip):
        if difference.kind != "extra" or not options.allow_extra:
            failed += 1
            _say(f"{difference.name}: {difference.detail}")
    _say(
        f"{len(expected)} file{'s' * (len(expected) != 1)} in the manifest, "
        f"{failed} difference{'s' * (failed != 1)}"
    )
    return min(failed, 1)


def _verify(entries: list[str], options: argparse.Namespace, multipart: str) -> int:
    from pegasus_toolkit.integrity import meta, verify

    metadata = meta.read_directory(".")
    for problem in metadata.broken:
        _say(problem)
    verdicts = []
    for entry in entries:
        verdict = _verdict(entry, metadata)
        if verdict.problem:
            _say(verdict.problem)
        elif verdict.warning:
            _say(f"warning: {verdict.warning}")
        elif options.debug:
            _say(f"{verdict.pfn}: {verdict.found} as {verdict.lfn!r} should have ({verdict.seconds:.3f} s)")
        verdicts.append(verdict)
    if options.debug:
        _say(f"read {', '.join(metadata.files) or 'no .meta file'}")
    failed = sum(bool(verdict.problem) for verdict in verdicts)
    _say(f"{len(verdicts) - failed} files verified, {failed} failed")
    if options.print_timings:
        _statistics(verify.statistics(verdicts), multipart)
    return min(failed, 1)


def _verdict(entry: str, metadata: Metadata) -> Verdict:
    from pegasus_toolkit.integrity import verify

    try:
        lfn, pfn = verify.split_pair(
            entry,
            lambda lfn, pfn: metadata.names(lfn) and verify.is_file(pfn),
            lambda lfn, _: metadata.names(lfn),
        )
    except verify.Ambiguous as error:
        return verify.Verdict(entry, entry, None, "", 0.0, str(error))
    return verify.check(lfn, pfn, metadata)


def _statistics(text: str, directory: str) -> None:
    """A file of its own in the directory, or standard output where there is none. Never fails the run."""
    if not directory:
        _out(text.encode())
        return
    name = f"{directory}/{int(time.time())}-integrity"
    for number in count():
        try:
            descriptor = os.open(
                f"{name}-{number}" if number else name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
                0o644,
            )
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(text.encode())
        except FileExistsError:
            continue  # another run in the same second
        except OSError as error:
            _say(f"cannot write statistics to $PEGASUS_MULTIPART_DIR: {_reason(error)}")
        return


def _out(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _tried(what: str, action: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | None:
    """What the action gives; where it fails, says why and gives ``None``."""
    try:
        return action(*arguments, **options)
    except (OSError, ValueError) as error:
        _say(f"{what}: {_reason(error)}")
        return None


def _reason(error: Exception) -> str:
    """An error's text without the name of the file."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _say(text: str) -> None:
    print(f"Integrity check: {_printable(text)}", file=sys.stderr)


def _printable(text: str) -> str:
    """On one line, whatever a file is called."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(main())
