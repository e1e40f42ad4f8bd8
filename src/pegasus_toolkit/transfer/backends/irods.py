"""``irods://host:port/zone/path`` by python-irodsclient: data objects are files, collections directories.

The client library logs in and speaks the protocol; a few of its calls are under way at a time, each on a
connection of its pool. A server's sha2 checksum is registered with each upload, and compared.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import irods.exception as irods_errors
from irods import keywords
from irods.models import Collection, DataObject
from irods.session import iRODSSession

from pegasus_toolkit.credentials.irods import IrodsCredential
from pegasus_toolkit.transfer import redact
from pegasus_toolkit.transfer.backends.shared.backend import Calls, FilesBackend
from pegasus_toolkit.transfer.backends.shared.files import (
    Found,
    Page,
    PlainFiles,
    Sending,
    Stored,
    Traits,
    parent,
    perhaps,
    temporary_names,
)
from pegasus_toolkit.transfer.backends.shared.runner import Last, Runner, Steps
from pegasus_toolkit.transfer.errors import (
    BadSpecification,
    Corrupted,
    Denied,
    IsDirectory,
    NoSpace,
    NotFound,
    ServerFault,
    TimedOut,
    TransferError,
    Unreachable,
)
from pegasus_toolkit.transfer.interface import (
    Abilities,
    Backend,
    Endpoint,
    Entry,
    Identified,
    Identity,
    Inspects,
    Settings,
    Sink,
)
from pegasus_toolkit.transfer.streams.checked import BLOCK

IN_FLIGHT = 8  # calls at a time: each needs a connection, and a server has few agents
GOOD = "1"  # status of a replica that is whole and not stale
EXISTS = tuple(
    getattr(irods_errors, name)
    for name in (
        "CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME",
        "OVERWRITE_WITHOUT_FORCE_FLAG",
        "CAT_NAME_EXISTS_AS_COLLECTION",
        "CAT_NAME_EXISTS_AS_DATAOBJ",
    )
)
REQUIRED, REFUSED = "CS_NEG_REQUIRE", "CS_NEG_REFUSE"  # the only policies about TLS that the library knows
ENCRYPTION = {
    "irods_encryption_algorithm": "AES-256-CBC",
    "irods_encryption_key_size": 32,
    "irods_encryption_num_hash_rounds": 16,
    "irods_encryption_salt_size": 8,
}
LOGIN = "iinit, or the password in the environment file (irodsPassword), in credentials.conf (password)"


def _named(*names: str) -> tuple[type[Exception], ...]:
    return tuple(getattr(irods_errors, name) for name in names)


# The library's errors in the order in which they are looked for: ours, what is said, and what to do.
MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[TransferError], str, str], ...] = (
    (
        _named("DoesNotExist", "CAT_UNKNOWN_COLLECTION", "CAT_UNKNOWN_FILE", "CAT_NO_ROWS_FOUND")
        + _named("OBJ_PATH_DOES_NOT_EXIST", "USER_FILE_DOES_NOT_EXIST"),
        NotFound, "no such data object or collection", "",
    ),
    (EXISTS, Denied, "something of that name is there", ""),
    (
        _named("CAT_INVALID_AUTHENTICATION", "CAT_INVALID_USER", "CAT_PASSWORD_EXPIRED")
        + _named("PAM_AUTH_PASSWORD_FAILED"),
        Denied, "the login failed: {name}", LOGIN,
    ),
    (
        _named("CAT_NO_ACCESS_PERMISSION", "CAT_INSUFFICIENT_PRIVILEGE_LEVEL", "SYS_NO_API_PRIV"),
        Denied, "no permission", "",
    ),
    (_named("SYS_RESC_QUOTA_EXCEEDED"), NoSpace, "the quota of the resource is exceeded", ""),
    (_named("USER_CHKSUM_MISMATCH"), Corrupted, "the server says that the checksum is wrong", ""),
    (
        (ssl.SSLError,), Denied, "TLS: {told}",
        "irods_ssl_ca_certificate_file in the environment file names who is trusted",
    ),
    ((TimeoutError,), TimedOut, "no answer in time", ""),
    ((irods_errors.NetworkException, OSError), Unreachable, "{told}", ""),
    ((Exception,), ServerFault, "{name}: {told}", ""),
)  # fmt: skip


class IrodsFiles(PlainFiles):
    """The primitives; each is a few calls of the library."""

    def __init__(self, endpoint: Endpoint, settings: Settings, session: Any, resource: str) -> None:
        super().__init__(Traits(replaces=False))
        self.endpoint = endpoint
        self.noted = partial(settings.notes.aside, endpoint)
        self.warn = settings.warn
        self.session = session
        self._at = {keywords.DEST_RESC_NAME_KW: resource} if resource else {}

    def url(self, path: str) -> str:
        """As it was given; there are no secrets in it."""
        return redact.url(f"irods://{self.endpoint.authority}{path}")

    def write(self, sending: Sending, name: str) -> Steps[Stored]:
        """In blocks; the server takes its checksum of the whole when it is closed."""
        options = {keywords.REG_CHKSUM_KW: "", **self._at}
        file = yield self._call(name, lambda: self.session.data_objects.open(name, "w", **options), "parent")
        try:
            while data := sending.source.read(BLOCK):
                sending.sent += len(data)
                yield self._call(name, partial(file.write, data))
            sending.require_whole(self.url(sending.job.path))
        except (TransferError, OSError):
            yield Last(self._call(name, partial(_quietly, file.close)))
            raise
        found = yield self._call(name, lambda: (file.close(), self._look(name))[1])
        return Stored(found.size, self._proven(sending, found))

    def _proven(self, sending: Sending, found: Found) -> bool:
        """Whether the checksum that the server has registered is that of what was sent."""
        digest, required = sending.source.digest, sending.job.required
        if found.digest is None or required.algorithm != found.digest[0] or not digest:
            return False
        if found.digest[1] != digest:
            text = f"the server's checksum is {found.digest[1]}, what was sent has {digest}"
            raise Corrupted(text, url=self.url(sending.job.path), side="destination")
        sending.job.stored += ("digest",)
        return True

    def read(self, path: str, sink: Sink) -> Steps[None]:
        """In blocks; the registered checksum must be that of what comes."""
        found = yield self._call(path, lambda: self._look(path))
        if found.directory:
            raise IsDirectory("a collection", url=self.url(path), side="source")
        sink.announce(found.size)
        if found.digest is not None:
            sink.expect(*found.digest)
        file = yield self._call(path, lambda: self.session.data_objects.open(path, "r"))
        try:
            while data := (yield self._call(path, partial(file.read, BLOCK))):
                sink.write(data)
        finally:
            yield Last(self._call(path, partial(_quietly, file.close)))

    def stat(self, path: str) -> Steps[Found]:
        """A data object, else a collection."""
        found: Found = yield self._call(path, lambda: self._look(path))
        return found

    def _look(self, path: str) -> Found:
        plain = path.rstrip("/") or "/"
        folder, name = parent(plain) or "/", plain.rpartition("/")[2]
        if path == plain and name:
            for found in self._objects(Collection.name == folder, DataObject.name == name):
                return found._replace(name="")
        if plain == "/" or self.session.collections.exists(plain):
            return Found("", True)
        raise NotFound("no such data object or collection", url=self.url(path))

    def _objects(self, *criteria: Any) -> Iterable[Found]:
        """Each once: the first of its replicas that is whole."""
        columns = (DataObject.name, DataObject.size, DataObject.checksum, DataObject.replica_status)
        seen: dict[str, Found] = {}
        query = self.session.query(*columns, DataObject.modify_time).filter(*criteria)
        for row in query:
            name = row[DataObject.name]
            if name not in seen or row[DataObject.replica_status] == GOOD:
                time = int(row[DataObject.modify_time].timestamp()) * 10**9
                digest = _sha256(row[DataObject.checksum])
                seen[name] = Found(name, False, int(row[DataObject.size]), digest, time)
        return seen.values()

    def digest(self, path: str, algorithm: str) -> Steps[str]:
        """The server takes it of what it stores, whatever is registered."""
        if algorithm != "sha256":
            return ""
        options = {keywords.FORCE_CHKSUM_KW: ""}
        told = yield self._call(path, lambda: self.session.data_objects.chksum(path, **options))
        found = _sha256(told)
        return found[1] if found is not None else ""

    def rename(self, old: str, new: str, replace: bool) -> Steps[None]:
        """A collection there would have it moved into it."""

        def move() -> None:
            if self.session.collections.exists(new):
                raise IsDirectory("a collection is there", url=self.url(new), side="destination")
            self.session.data_objects.move(old, new)

        yield self._call(new, move, "exists")

    def unlink(self, path: str) -> Steps[None]:
        """Not into the trash."""
        yield self._call(path, lambda: self.session.data_objects.unlink(path, force=True), "directory")

    def make(self, path: str) -> Steps[bool]:
        """One collection."""

        def make() -> bool:
            try:
                self.session.collections.create(path, recurse=False)
            except EXISTS:
                return False
            return True

        made: bool = yield self._call(path, make)
        return made

    def rmdir(self, path: str) -> Steps[None]:
        """An empty collection."""
        yield self._call(path, lambda: self.session.collections.remove(path, recurse=False, force=True))

    def clear(self, path: str) -> Steps[bool]:
        """The server removes all of it."""
        yield self._call(path, lambda: self.session.collections.remove(path, recurse=True, force=True))
        return True

    def scan(self, path: str, more: Any) -> Steps[Page]:
        """Data objects and collections in it."""

        def look() -> list[Found]:
            top = path.rstrip("/") or "/"
            found = list(self._objects(Collection.name == top))
            query = self.session.query(Collection.name).filter(Collection.parent_name == top)
            for row in query:
                name = row[Collection.name].rpartition("/")[2]
                if name:  # the top is its own parent
                    found.append(Found(name, True))
            if not found and top != "/" and not self.session.collections.exists(top):
                raise NotFound("no such collection", url=self.url(path))
            return found

        return Page((yield self._call(path, look)))

    # -- the library -------------------------------------------------------------------------------

    def _call(self, path: str, action: Callable[[], Any], *why: str) -> Callable[[], Any]:
        """A request. ``why``: what may be behind an error (see ``perhaps``)."""

        def call() -> Any:
            try:
                return self._agreed(action)
            except TransferError:
                raise
            except (irods_errors.iRODSException, irods_errors.PycommandsException, OSError) as error:
                raise perhaps(self._translated(error, path), *why) from error

        return call

    def _agreed(self, action: Callable[[], Any]) -> Any:
        """With TLS, where the server wants it and nobody here minds: the library can only say yes or no."""
        try:
            return action()
        except irods_errors.NetworkException as error:
            if error.__context__ is not None and not isinstance(error.__context__, KeyError):
                raise  # of the network; KeyError: there was no connection yet, and this one was not agreed on
            account = self.session.pool.account
            if self.session.flexible and account.client_server_policy != REQUIRED:
                account.client_server_policy = REQUIRED
                return self._agreed(action)
            hint = f"it wants TLS, or has none: irods_client_server_policy is {account.client_server_policy}"
            raise Denied(
                "no agreement with the server about TLS", host=self.endpoint.host, hint=hint
            ) from error

    def _translated(self, error: Exception, path: str) -> TransferError:
        told, name = redact.message(str(error)), type(error).__name__
        _, kind, text, hint = next(one for one in MEANINGS if isinstance(error, one[0]))
        ours = kind(text.format(told=told or name, name=name), url=self.url(path), hint=hint)
        ours.host = self.endpoint.host
        return ours


class Irods(FilesBackend):
    """One zone's server, as one user."""

    abilities = Abilities(in_flight=IN_FLIGHT, threads=1)

    def __init__(self, endpoint: Endpoint, settings: Settings, credential: IrodsCredential) -> None:
        self.credential = credential
        self.session = session(credential, settings)
        self.width = max(1, min(IN_FLIGHT, settings.connections))
        self.files: IrodsFiles = IrodsFiles(endpoint, settings, self.session, credential.resource)
        self.files.traits.choose(temporary_names(endpoint, settings))
        self.calls = Calls(self.width)

    def runner(self, side: bool = False) -> Runner:
        """A few calls at a time."""
        return Runner(self.calls, lambda: Calls(1, once=True))

    def inspect(self, path: str, algorithm: str) -> Entry:
        """Size, and the checksum that the server takes now."""
        return self.runner(side=True).one(self._inspected(path, algorithm))

    def _inspected(self, path: str, algorithm: str) -> Steps[Entry]:
        found = yield from self.files.stat(path)
        digest = yield from self.files.digest(path, algorithm)
        return Entry(path, found.size, bool(found.directory), (algorithm, digest) if digest else None)

    def identity(self) -> Identity:
        """The user, and where the password comes from."""
        kind = "ticket" if self.credential.ticket else f"iRODS user {self.credential.user}"
        return Identity(kind, self.credential.origin)

    def close(self) -> None:
        """From any thread."""
        self.calls.close()
        with suppress(OSError, irods_errors.NetworkException):
            self.session.cleanup()


class _Session(iRODSSession):  # type: ignore[misc]
    """``flexible``: TLS or none, as the server likes."""

    flexible = False
    _version: tuple[int, ...] = ()

    @property
    def server_version(self) -> tuple[int, ...]:
        """Asked once: the library looks through its set of connections, which other threads change."""
        if not self._version:
            with self.pool.get_connection() as connection:
                self._version = connection.server_version
        return self._version


def session(credential: IrodsCredential, settings: Settings) -> Any:
    """A session that connects when it is first used, and checks certificates, which the library leaves out
    where no authority is named."""
    told = dict(credential.environment)
    context = ssl.create_default_context(
        cafile=told.get("irods_ssl_ca_certificate_file"), capath=told.get("irods_ssl_ca_certificate_path")
    )
    if told.get("irods_ssl_verify_server") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    policy = told.get("irods_client_server_policy")
    if str(told.get("irods_authentication_scheme", "native")).lower() != "native" and not credential.by_iinit:
        policy = REQUIRED  # the password itself is sent
    told |= {
        "irods_client_server_negotiation": "request_server_negotiation",
        "irods_client_server_policy": policy if policy in (REQUIRED, REFUSED) else REFUSED,
    }
    if credential.by_iinit:  # with PAM, that is a password of the server's making, for native logins
        told["irods_authentication_scheme"] = "native"
    password = credential.password.reveal() if credential.password is not None else None
    made = _Session(
        **{
            **ENCRYPTION,
            **{key: value for key, value in told.items() if key not in ("irods_host", "irods_port")},
        },
        irods_host=credential.host,
        irods_port=credential.port,
        irods_user_name=credential.user,
        irods_zone_name=credential.zone,
        password=password,
        ssl_context=context,
        application_name="pegasus-toolkit",
    )
    made.flexible = policy not in (REQUIRED, REFUSED)
    made.connection_timeout = max(1, int(settings.stall_timeout))
    if credential.ticket is not None:
        from irods.ticket import Ticket

        Ticket(made, credential.ticket.reveal()).supply()
    return made


def _sha256(told: str | None) -> tuple[str, str] | None:
    """``sha2:BASE64`` as (algorithm, hex); ``None`` for another kind, or none."""
    kind, _, value = (told or "").partition(":")
    if kind != "sha2":
        return None
    try:
        return "sha256", base64.b64decode(value, validate=True).hex()
    except (binascii.Error, ValueError):
        return None


def _quietly(action: Callable[[], Any]) -> None:
    with suppress(Exception):  # the first error counts
        action()


def open_backend(endpoint: Endpoint, settings: Settings) -> Irods:
    """Connects when it is first used. Raises ``CredentialError``, ``BadSpecification``."""
    if not endpoint.authority.rpartition("@")[2]:
        raise BadSpecification("names no host", url="irods:///", hint="irods://host:1247/zone/home/user/file")
    return Irods(endpoint, settings, settings.credentials.irods(endpoint.authority, endpoint.site))


_backend: type[Backend] = Irods
_inspects: type[Inspects] = Irods
_identified: type[Identified] = Irods
