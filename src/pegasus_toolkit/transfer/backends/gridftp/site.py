"""How a GridFTP server is reached and logged in to: GSI for ``gsiftp``, ssh for ``sshftp``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple, Protocol

from pegasus_toolkit.credentials import CredentialError, SshCredential, X509Credential
from pegasus_toolkit.transfer.clients.gridftp.errors import failure
from pegasus_toolkit.transfer.clients.gridftp.wire import Link, Plain, Session, connect
from pegasus_toolkit.transfer.errors import BadSpecification, Denied, ServerFault, TimedOut, Unsupported
from pegasus_toolkit.transfer.interface import Endpoint, Identity, Settings

FACTS = "Type;Size;Modify;Perm;UNIX.slink;"
AUTHENTICATION = "data_channel_authentication"
PROTECTION = "data_channel_protection"
PROXY_HINT = "make one with voms-proxy-init or grid-proxy-init, or name it in X509_USER_PROXY_<site>"
# What gridftp-ssh, the tool of Globus, runs at the other end; GLOBUS_REMOTE_SSHFTP replaces it there too.
REMOTE = (
    "if test -f .globus/sshftp; then exec .globus/sshftp; "
    "elif test -f /etc/grid-security/sshftp; then exec /etc/grid-security/sshftp; "
    "else echo 500 This server has no sshftp.; fi"
)


class Data(NamedTuple):
    """Of a server's data connections: both sides show who they are, and what passes is encrypted."""

    authenticated: bool = True
    private: bool = False


class Connector(Protocol):
    """One account at one server."""

    url: str
    host: str
    near: bool  # whether the server may be able to connect to us
    data: Data  # how data connections are protected

    def connect(self, patience: float, data: bool = False) -> Session:
        """A new session, logged in, binary; ``data``: for data connections. Raises what is wrong."""

    def identity(self) -> Identity:
        """Which credential opens it."""


class GsiConnector:
    """Logs in with a proxy; the server's account is the one that its gridmap says."""

    near = True

    def __init__(
        self,
        endpoint: Endpoint,
        settings: Settings,
        credential: X509Credential,
        authorities: str,
        data: Data,
    ) -> None:
        self.data = data
        self.url = f"{endpoint.scheme}://{endpoint.authority}"
        self.host, self.port = endpoint.address()
        self.user = endpoint.authority.rpartition("@")[0] or ":globus-mapping:"
        self.settings = settings
        self.credential = credential
        self.authorities = authorities

    def identity(self) -> Identity:
        """The proxy."""
        return Identity("X.509 proxy", self.credential.path, self.credential.expires)

    def connect(self, patience: float, data: bool = False) -> Session:
        """Connects, checks the server's certificate, shows ours."""
        from pegasus_toolkit.transfer.clients.gridftp.gsi import Gsi

        if self.credential.left() <= 0:
            raise Denied(f"the proxy {self.credential.path} has expired", url=self.url, hint=PROXY_HINT)
        sock = connect(self.host, self.port, self.settings.connect_timeout, self.url)
        if data:  # a busy server takes its time to make a key
            sock.settimeout(max(patience, self.settings.connect_timeout))
        try:
            link = Gsi(sock, self.host, self.url, self.credential, self.authorities)
            link.log_in(data and self.data.authenticated, self.data.private)
        except TimeoutError:
            sock.close()
            raise TimedOut("the server does not answer", url=self.url, host=self.host) from None
        except OSError as error:
            sock.close()
            if isinstance(error, Denied):
                raise
            why = error.strerror or "closed"
            raise ServerFault(f"lost the server: {why}", url=self.url, host=self.host) from None
        except BaseException:
            sock.close()
            raise
        return log_in(Session(link, self.host, self.url), self.user, patience)


class SshConnector:
    """Runs the server at the other end of an ssh connection and speaks to it through that."""

    near = False
    data = Data(authenticated=False)  # there is nothing to show who one is

    def __init__(self, endpoint: Endpoint, settings: Settings, credential: SshCredential) -> None:
        import shutil

        from pegasus_toolkit.transfer.clients.sftp import address as ssh_address
        from pegasus_toolkit.transfer.clients.sftp import program as ssh_program

        self.url = f"{endpoint.scheme}://{endpoint.authority}"
        self.where = ssh_address.address(endpoint, credential)
        self.host = self.where.host
        if credential.password is not None or credential.passphrase is not None:
            hint = "use a key without a passphrase, or an ssh agent"
            raise Denied("sshftp cannot log in with a password or passphrase", url=self.url, hint=hint)
        binary = shutil.which("ssh", path=settings.environ.get("PATH"))
        if binary is None:
            raise tool_missing("ssh", "openssh-client", "openssh", self.url)
        self.program = ssh_program.Program(binary, self.where, credential, settings.environ)
        self.command = settings.environ.get("GLOBUS_REMOTE_SSHFTP") or REMOTE
        self.timeout = settings.connect_timeout

    def identity(self) -> Identity:
        """The key that is named, or what ssh finds by itself."""
        return Identity("SSH key", self.program.credential.private_key or "agent or usual key")

    def connect(self, patience: float, data: bool = False) -> Session:
        """Starts ssh; what it says on its way out tells why it could not."""
        from pegasus_toolkit.transfer.clients.sftp.program import Child

        child = Child(self.program, [], self.command, self.timeout)
        child.sock.settimeout(self.timeout)
        link: Link = Plain(child.sock, child.close)
        session = Session(link, self.host, self.url)
        try:
            hello = session.reply()
        except ServerFault:
            error = child.lost()
            session.close()
            raise error from None
        except BaseException:
            session.close()
            raise
        if hello.code != 220:
            session.close()
            raise Denied(f"the server says {hello.code} {hello.text}", url=self.url, host=self.host)
        return log_in(session, self.where.user or ":globus-mapping:", patience)


def log_in(session: Session, user: str, patience: float) -> Session:
    """Logs in and asks what the server can do."""
    try:
        reply = session.ask(f"USER {user}")
        if reply.code == 331:
            reply = session.ask("PASS dummy")
        if reply.code not in (230, 232):
            hint = "the server does not know the proxy's name, or maps it to no account"
            raise Denied(
                f"no login: {reply.code} {reply.text}", url=session.url, host=session.host, hint=hint
            )
        reply = session.ask("TYPE I")
        if not reply.good:
            raise failure(reply, session.url, session.host)
        session.send(f"OPTS MLST {FACTS}", lambda reply: None)  # the shorter answers
        session.algorithms = _algorithms(session.ask("FEAT").lines)
        session.patience(patience)
    except BaseException:
        session.close()
        raise
    return session


def _algorithms(features: tuple[str, ...]) -> frozenset[str]:
    """What CKSM offers, in our spelling."""
    for line in features:
        name, _, rest = line.strip().partition(" ")
        if name == "CKSM":
            return frozenset(word.partition(":")[0].strip().lower() for word in rest.split(";")) - {""}
    return frozenset()


def tool_missing(tool: str, debian: str, conda: str, url: str) -> Unsupported:
    """The error that says what to install."""
    hint = f"apt install {debian}, or conda install -c conda-forge {conda}"
    return Unsupported(f"needs {tool}, which is not installed", url=url, hint=hint)


def connector(endpoint: Endpoint, settings: Settings) -> Connector:
    """The way in that the scheme asks for. Raises ``CredentialError``, ``BadSpecification``."""
    credentials = settings.credentials
    if endpoint.scheme == "sshftp":
        return SshConnector(endpoint, settings, credentials.ssh("sshftp", endpoint.authority, endpoint.site))
    endpoint.address()
    credential = credentials.proxy(endpoint.site, endpoint.scheme)
    if credential is None:
        raise CredentialError(f"no X.509 proxy for site {endpoint.site!r}", PROXY_HINT)
    authorities = credentials.ca_directory()
    if not authorities:
        hint = "install them in /etc/grid-security/certificates, or name a directory in X509_CERT_DIR"
        raise CredentialError("no certificates of grid authorities are installed", hint)
    data = data_channels(endpoint, settings)
    if data.authenticated and find_spec("cryptography") is None:
        hint = f"pip install 'pegasus-toolkit[gridftp]', or {AUTHENTICATION} = none in the server's section"
        raise Unsupported("authenticated data connections need the Python package 'cryptography'", hint=hint)
    return GsiConnector(endpoint, settings, credential, authorities, data)


def data_channels(endpoint: Endpoint, settings: Settings) -> Data:
    """What the server's section says of data connections. Raises ``BadSpecification``."""
    options = settings.credentials.options(endpoint.scheme, endpoint.authority, endpoint.site)
    said = []
    for name, no, yes in ((AUTHENTICATION, "none", "self"), (PROTECTION, "clear", "private")):
        told = options.get(name)
        value = told.reveal().strip().lower() if told is not None else ""
        if value not in ("", no, yes):
            url = f"{endpoint.scheme}://{endpoint.authority}"
            raise BadSpecification(f"{name} is neither {yes!r} nor {no!r}", url=url)
        said.append(value)
    data = Data(said[0] != "none", said[1] == "private")
    if data.private and not data.authenticated:
        raise BadSpecification(f"{PROTECTION} = private needs {AUTHENTICATION} = self")
    return data


_gsi: type[Connector] = GsiConnector
_ssh: type[Connector] = SshConnector
