"""The command line of ``pegasus-transfer``: what it takes, and the help that teaches it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from pegasus_toolkit import __version__
from pegasus_toolkit.cli.help import Help
from pegasus_toolkit.transfer import units
from pegasus_toolkit.transfer.engine.retry import patience

if TYPE_CHECKING:
    from pegasus_toolkit.integrity.tree import LinkRule

Verb = Literal["cp", "sync", "rm"]

DEFAULT_THREADS = 8
MOST_THREADS = 1000
DEFAULTS = "pegasus-transfer.conf"
# Each shard has its own journal and record, and runs with the defaults of these.
_NOT_SHARED = (
    *("symlink", "dry_run", "check", "journal", "report", "manifest", "progress", "max_attempts"),
    *("metrics", "metrics_listen", "traces"),
    *("bandwidth", "min_rate", "per_host", "streams", "connect_timeout", "stall_timeout", "patience"),
)

DESCRIPTION = """\
Moves files between storage systems, and proves that they arrived: a digest is taken of every
stream, a file appears under its name only when it is whole and verified, and transient
errors are retried. It reads the same specifications, environment and credential files
as the command of this name in Pegasus WMS."""

EPILOG = """\
a specification that runs as it stands:
  echo hello > /tmp/hello.txt
  cat > /tmp/spec.json <<'END'
  [
   {"type": "mkdir",
    "target": {"site_label": "local", "url": "file:///tmp/demo"}},
   {"type": "transfer", "lfn": "hello.txt",
    "src_urls":  [{"site_label": "local", "url": "file:///tmp/hello.txt"}],
    "dest_urls": [{"site_label": "local", "url": "file:///tmp/demo/hello"}]},
   {"type": "remove",
    "target": {"site_label": "local", "url": "file:///tmp/hello.txt"}}
  ]
  END
  pegasus-transfer -f /tmp/spec.json
  All mkdirs come first, then all transfers, then all removes. Several
  "src_urls" are tried one after the other, the highest "priority" first.

without a specification, any pair of the protocols (pegasus-files has more):
  pegasus-transfer results.tar s3://bucket/2026/
  pegasus-transfer data/ davs://server/archive/data/   what is in data/
  pegasus-transfer data davs://server/archive/         data itself
  pegasus-transfer 'sftp://host/runs/*.h5' scratch/    a wildcard, quoted

recipes, with -f spec.json or with SOURCE and DESTINATION:
  see what would be done         --dry-run
  see whether it can be done     --check
  survive kill -9, go on later   --journal run.journal   (again and again)
  run again only what failed     --failed left.json, then -f left.json
  a report for a program         --report report.jsonl
  leave room for others          -n 4 --per-host 2 --bandwidth 50MB
  on many machines at once       --submit --shards 20
  checksums of what was fetched  --manifest SHA256SUMS, for sha256sum -c

environment:
  PEGASUS_TRANSFER_THREADS   as -n, which is stronger
  PEGASUS_TRANSFER_PATIENCE  as --patience, which is stronger
  PEGASUS_TRANSFER_DEFAULTS  a file of defaults: option = value, a line each;
                             else pegasus-transfer.conf in the working directory
                             and in ~/.config/pegasus-toolkit
  PEGASUS_CREDENTIALS        default: ~/.pegasus/credentials.conf
  PEGASUS_MULTIPART_DIR      directory for statistics, as Pegasus reads them
  KICKSTART_INTEGRITY_DATA   file that gets the digests of "generate_checksum"
  OSG_SQUID_LOCATION         HTTP proxy to try first; http_proxy, https_proxy,
                             no_proxy as usual
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION,
  AWS_ENDPOINT_URL           for s3:// where the credentials file has no section
  X509_USER_PROXY, SSH_PRIVATE_KEY and others, each also with _SITE after it
  TMPDIR                     where files stand that can only be moved through a
                             local copy

exit codes:
  0  all done
  1  failed or cancelled; running it again may succeed
  2  failed for good, or the specification or the options are wrong; then
     nothing was moved.  For DAGMan: RETRY job 3 UNLESS-EXIT 2

The first SIGINT (Ctrl-C), SIGTERM or SIGHUP ends the run within five seconds,
with reports written and nothing half-done left behind; the second at once.
docs/options.md describes every option and the report's fields, docs/restart.md journals."""


class Arguments(NamedTuple):
    """The command line and what the environment adds to it; checked."""

    file: str  # "-" for standard input
    sources: tuple[str, ...]  # in place of a specification
    destination: str
    attempts: int
    threads: int
    symlink: bool
    debug: bool
    quiet: bool
    progress: str
    report: str
    failed: str
    manifest: str
    journal: str
    log_file: str
    log_format: str
    metrics: str
    metrics_listen: str  # [HOST:]PORT
    traces: bool
    dry_run: bool
    check: bool
    bandwidth: str  # "": no limit; else as cli.bandwidth reads it
    min_rate: int  # bytes a second, 0: any
    digest: str  # "" for none
    per_host: int
    connect_timeout: float
    stall_timeout: float
    streams: int
    patience: float  # seconds
    submit: bool = False
    shards: int = 0  # 0: not said
    directory: str = ""
    shared: bool = False
    worker: str = ""
    engine: str = ""
    sums: str = ""
    choice: tuple[tuple[str, str], ...] = ()  # of files in directories: --include, --exclude, --filter-from
    links: LinkRule = "inside"
    verb: Verb = "cp"  # what is done with the sources
    given: tuple[str, ...] = ()  # what followed the command's name
    command: str = "pegasus-transfer"  # as one types it
    checksum: bool = False  # of a sync
    delete: bool = False  # of a sync
    cache: bool = True  # of digests
    recursive: bool = False  # of a removal
    force: bool = False  # of a removal: what is not there is fine


def parse(argv: Sequence[str] | None, environ: Mapping[str, str]) -> Arguments:
    """Raises ``SystemExit`` (code 2) with one line on stderr for what makes no sense."""
    parser = _parser()
    got = parser.parse_args(argv)
    if got.protocols:
        from pegasus_toolkit.cli import protocols

        sys.exit(protocols.tell(environ, got.json))
    if got.json:
        parser.error("--json goes with --protocols")
    argv = sys.argv[1:] if argv is None else argv
    if not (got.submit or got.shards):  # each shard has its own defaults
        got = with_defaults(parser, got, argv, environ)
    _check(parser, got)
    sharded = got.submit or got.shards
    if not sharded and got.named:
        *sources, destination = got.named
    else:
        sources, destination = [], ""
    return arguments_of(
        parser,
        got,
        environ,
        file=got.named[0] if sharded and got.named else got.file,
        sources=tuple(sources),
        destination=destination,
        given=tuple(argv),
        submit=got.submit,
        shards=got.shards,
        **_of_shards(parser, got),
    )


def arguments_of(
    parser: argparse.ArgumentParser, got: argparse.Namespace, environ: Mapping[str, str], **own: Any
) -> Arguments:
    """What all commands that move files have in common, and a command's own."""
    return Arguments(
        attempts=got.max_attempts,
        threads=got.threads or _from_environment(parser, environ),
        symlink=getattr(got, "symlink", False),
        debug=got.debug,
        quiet=got.quiet,
        progress=got.progress,
        report=got.report or "",
        failed=got.failed or "",
        manifest=got.manifest or "",
        journal=got.journal or "",
        log_file=got.log_file or "",
        log_format=got.log_format,
        metrics=got.metrics or "",
        metrics_listen=got.metrics_listen or "",
        traces=got.traces,
        dry_run=got.dry_run,
        check=got.check,
        bandwidth=got.bandwidth or "",
        min_rate=got.min_rate,
        digest="" if got.digest == "none" else got.digest,
        per_host=got.per_host,
        connect_timeout=got.connect_timeout,
        stall_timeout=got.stall_timeout,
        streams=got.streams,
        patience=got.patience if got.patience is not None else patience(environ),
        sums=getattr(got, "sums", None) or "",
        choice=tuple(got.choice or ()),
        links=got.links or "inside",
        **own,
    )


def with_defaults(
    parser: Parser, got: argparse.Namespace, argv: Sequence[str], environ: Mapping[str, str]
) -> argparse.Namespace:
    """The same with what the files of defaults say; the environment and the command line are stronger."""
    if not any(map(os.path.lexists, default_files(environ))):
        return got
    from pegasus_toolkit.cli import defaults

    words: list[str] = []
    try:
        for place, word in defaults.read(default_files(environ)):
            parser.place = f"{place}: "
            parser.parse_args([word, *argv])
            if not environ.get(f"PEGASUS_TRANSFER_{word.partition('=')[0][2:].upper()}"):
                words.append(word)
    except defaults.BadDefaults as error:
        parser.error(str(error))
    parser.place = ""
    return parser.parse_args([*words, *argv])


def default_files(environ: Mapping[str, str]) -> list[str]:
    """Where defaults of options may stand, the stronger last: the user's, and the working directory's."""
    named = environ.get("PEGASUS_TRANSFER_DEFAULTS")
    if named is not None:
        return [named] if named else []
    home = environ.get("XDG_CONFIG_HOME") or (f"{environ['HOME']}/.config" if environ.get("HOME") else "")
    return [*([f"{home}/pegasus-toolkit/{DEFAULTS}"] if home else []), DEFAULTS]


class Parser(argparse.ArgumentParser):
    """Names in its errors the place that the words come from, where that is not the command line."""

    place = ""

    def error(self, message: str) -> NoReturn:
        super().error(self.place + message)


def _check(parser: argparse.ArgumentParser, got: argparse.Namespace) -> None:
    """Ends it for options that do not go together."""
    sharded = got.submit or got.shards
    if len(got.named) == 1 and not sharded:
        parser.error(f"{got.named[0]}: and where to? A specification is named by -f")
    if len(got.named) > 1 and sharded:
        parser.error("--submit and --shards take one specification")
    if got.named and got.file != "-":
        parser.error("-f FILE, or what is to be moved and where to: not both")
    if (got.choice or got.links or got.sums) and (sharded or not got.named):
        parser.error("filters, --links and --sums go with SOURCE... DESTINATION")
    check_outputs(parser, got, [*got.named, got.file])


def check_outputs(parser: argparse.ArgumentParser, got: argparse.Namespace, read: Sequence[str]) -> None:
    """Ends it for files to be written that do not go together, or would replace what is ``read``."""
    if (got.dry_run or got.check) and (got.failed or got.manifest):
        parser.error("--dry-run and --check move nothing: --failed and --manifest make no sense with them")
    if got.dry_run and got.check:
        parser.error("--dry-run or --check, not both")
    sums = getattr(got, "sums", None)
    if (got.manifest or sums) and got.digest == "none":
        parser.error("--manifest and --sums need digests: leave out --digest none")
    named = (got.report, got.failed, got.manifest, got.journal, got.log_file, got.metrics, sums)
    written = [path for path in named if path]
    if len(set(written)) < len(written) or not set(read).isdisjoint(written):
        parser.error("each file that is written needs a name of its own")


def _of_shards(parser: argparse.ArgumentParser, got: argparse.Namespace) -> dict[str, Any]:
    """What belongs to ``--submit`` and ``--shards``; and what does not go with them."""
    own = {"directory": got.dir or "", "worker": got.worker or "", "engine": got.engine}
    own["shared"] = got.shared_filesystem
    if not (got.submit or got.shards):
        for key, name in (("dir", "dir"), ("shared_filesystem", "shared-filesystem")):
            if getattr(got, key):
                parser.error(f"--{name} goes with --submit or --shards")
        if got.worker or got.engine:
            parser.error("--worker and --engine go with --submit or --shards")
        return {}
    for name in _NOT_SHARED:
        if getattr(got, name) != parser.get_default(name):
            parser.error(f"--{name.replace('_', '-')} cannot be had with --submit or --shards")
    if got.digest == "blake3":
        parser.error("shards take sha256 or, with --digest none, no digests")
    return own


def _parser() -> Parser:
    parser = Parser(
        prog="pegasus-transfer",
        usage="%(prog)s [-f FILE] [options]\n       %(prog)s [options] SOURCE... DESTINATION",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("named", nargs="*", type=path, metavar="SOURCE... DESTINATION", help=argparse.SUPPRESS)
    add("-f", "--file", default="-", metavar="FILE", help="the specification (default: standard input)")
    add_common(parser)
    add("--protocols", action="store_true", help="print what works here, and what brings the rest")
    add("--json", action="store_true", help="with --protocols: for programs")
    add("-s", "--symlink", action="store_true", help="link instead of copying local files within one site")
    add_outputs(parser)
    add_choice(parser)
    add_limits(parser)
    _add_shards(parser)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Of every command that moves files."""
    add = parser.add_argument
    add(
        "-m", "--max-attempts", type=whole(1, 1000), default=3, metavar="N",
        help="attempts over all sources of an operation (default 3)",
    )  # fmt: skip
    add(
        "-n", "--threads", type=whole(0, MOST_THREADS), default=0, metavar="N",
        help=f"transfers at once (default: $PEGASUS_TRANSFER_THREADS, else {DEFAULT_THREADS})",
    )  # fmt: skip
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-d", "--debug", action="store_true", help="print a line for every attempt")
    loudness.add_argument("-q", "--quiet", action="store_true", help="print only warnings and errors")
    add("--version", action="version", version=f"pegasus-toolkit {__version__}")


class _Choose(argparse.Action):
    """Filters keep the order in which they are given."""

    def __call__(
        self, parser: object, got: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        chosen = [*(getattr(got, "choice", None) or ()), ((option or "").lstrip("-"), value)]
        got.choice = chosen


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which files of directories are meant."""
    group = parser.add_argument_group("which files of directories (rclone's patterns, the first that fits)")
    for option, metavar, text in (
        ("--include", "PATTERN", "take files that fit, and no others: '*.h5', '/raw/**'"),
        ("--exclude", "PATTERN", "leave out files that fit"),
        ("--filter-from", "FILE", "rules, a line each: '+ PATTERN' or '- PATTERN'"),
    ):
        kind = path if metavar == "FILE" else pattern
        group.add_argument(option, action=_Choose, dest="choice", type=kind, metavar=metavar, help=text)
    group.add_argument(
        "--links", choices=("skip", "follow", "copy"),
        help="symbolic links: leave out, follow wherever they lead, or copy as links on this machine "
        "(default: follow those that stay in the directory)",
    )  # fmt: skip


def add_outputs(parser: argparse.ArgumentParser, sums: bool = True) -> None:
    """Reports, and what is taken up again."""
    group = parser.add_argument_group("what is written, and what is taken up again")
    add = group.add_argument
    add(
        "--dry-run",
        action="store_true",
        help="print the route of each operation and the reason for it; move nothing",
    )
    text = "test every endpoint: does it answer, which credential is used and when it expires, how much"
    text += " space is free; move nothing"
    add("--check", action="store_true", help=text)
    add("--journal", type=path, metavar="FILE",
        help="record what is done; skip what an earlier run with this FILE has done")  # fmt: skip
    add(
        "--report",
        type=path,
        metavar="FILE",
        help="one JSON object for each operation, a line each",
    )
    add("--failed", type=path, metavar="FILE",
        help="write a specification of what is left to do; [] if nothing is")  # fmt: skip
    add("--manifest", type=path, metavar="FILE",
        help="write digests of all files moved to or from this machine, as sha256sum does")  # fmt: skip
    if sums:
        add("--sums", type=path, metavar="FILE",
            help="the same of all files copied, by their names below the destination")  # fmt: skip
    add("--log-file", type=path, metavar="FILE",
        help="append the log to FILE, too, with all that -q leaves out")  # fmt: skip
    add("--log-format", choices=("text", "json"), default="text",
        help="the log for people, or as JSON objects: time, level, message (default text)")  # fmt: skip
    add("--metrics", type=path, metavar="FILE",
        help="write counters for Prometheus now and then, as node exporter reads them")  # fmt: skip
    add("--metrics-listen", type=_address, metavar="[HOST:]PORT",
        help="answer Prometheus there during the run (default host: this machine alone)")  # fmt: skip
    add("--traces", action="store_true",
        help="send an OpenTelemetry trace, as the OTEL_* variables say")  # fmt: skip
    add("--progress", choices=("auto", "always", "never"), default="auto",
        help="the live line (default auto: on a terminal)")  # fmt: skip


def _add_shards(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("on many machines (docs/howto-bulk-transfer.md)")
    add = group.add_argument
    add("--submit", action="store_true",
        help="run it as a DAG of shards, on HTCondor or here; the exit code is the run's")  # fmt: skip
    add("--shards", type=whole(1, 10_000), default=0, metavar="N",
        help="so many (default 8); without --submit they are only planned, for pegasus-run")  # fmt: skip
    add("--dir", type=path, metavar="DIR",
        help="the submit directory; the same again goes on with it (default: FILE-run0001)")  # fmt: skip
    add("--shared-filesystem", action="store_true",
        help="all machines have the files of this one at the same paths")  # fmt: skip
    add("--worker", type=path, metavar="FILE",
        help="the program pegasus-worker for the other machines")  # fmt: skip
    add("--engine", default="", choices=("auto", "htcondor", "local"),
        help="what runs the shards (default: HTCondor if it is there)")  # fmt: skip


def add_limits(parser: argparse.ArgumentParser) -> None:
    """How fast, and how patiently."""
    group = parser.add_argument_group("limits and checks")
    add = group.add_argument
    add("--digest", choices=("sha256", "blake3", "none"), default="sha256",
        help="digest taken of every stream (default sha256)")  # fmt: skip
    add("--bandwidth", type=_bandwidth, metavar="RATE",
        help="bytes a second over all transfers: 500k, 10M, 1.5GiB; by time of day: '08:00,10M 19:00,off'; "
        "or @FILE, which holds that and may change during the run (default: no limit)")  # fmt: skip
    add("--min-rate", type=_bytes, default=0, metavar="RATE",
        help="replace a connection that stays below this for --stall-timeout (default 0: none)")  # fmt: skip
    add("--per-host", type=whole(0, MOST_THREADS), default=0, metavar="N",
        help="transfers at once with one host (default 0: as many as -n)")  # fmt: skip
    add("--streams", type=whole(1, 64), default=4, metavar="N",
        help="connections for one large file (default 4)")  # fmt: skip
    add("--connect-timeout", type=_seconds, default=30.0, metavar="SECONDS",
        help="time limit for a connection (default 30)")  # fmt: skip
    add("--stall-timeout", type=_seconds, default=60.0, metavar="SECONDS",
        help="end an attempt after this time without a byte (default 60)")  # fmt: skip
    add("--patience", type=_seconds, default=None, metavar="SECONDS",
        help="wait so long for a server that is away, fails or throttles (default 60)")  # fmt: skip


class whole:
    """An argument type: a whole number within limits."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        number = int(text) if text.removeprefix("-").isdecimal() and text.isascii() else None
        if number is None or not self.least <= number <= self.most:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not a whole number from {self.least} to {self.most}"
            )
        return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 86_400 * 365:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def _bytes(text: str) -> int:
    try:
        return units.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bandwidth(text: str) -> str:
    from pegasus_toolkit.cli import bandwidth

    try:
        bandwidth.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _address(text: str) -> str:
    port = text.rpartition(":")[2]
    if not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not [HOST:]PORT")
    return text


def pattern(text: str) -> str:
    """An argument type: a pattern of names."""
    if not text:
        raise argparse.ArgumentTypeError("needs a pattern, such as '*.h5'")
    return text


def path(text: str) -> str:
    """An argument type: the name of a file or place."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("needs the name of a file")
    return text


def _from_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> int:
    text = environ.get("PEGASUS_TRANSFER_THREADS", "")
    if not text:
        return DEFAULT_THREADS
    try:
        return whole(1, MOST_THREADS)(text)
    except argparse.ArgumentTypeError as error:
        parser.error(f"environment variable PEGASUS_TRANSFER_THREADS: {error}")
