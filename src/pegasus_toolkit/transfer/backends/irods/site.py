"""A session of the client library as one site's user, which is told everything."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import irods.exception as irods_errors
from irods.session import iRODSSession

from pegasus_toolkit.credentials.irods import IrodsCredential
from pegasus_toolkit.transfer.errors import Denied
from pegasus_toolkit.transfer.interface import Settings

REQUIRED, REFUSED = "CS_NEG_REQUIRE", "CS_NEG_REFUSE"  # the only policies about TLS that the library knows
ENCRYPTION = {
    "irods_encryption_algorithm": "AES-256-CBC",
    "irods_encryption_key_size": 32,
    "irods_encryption_num_hash_rounds": 16,
    "irods_encryption_salt_size": 8,
}


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


def agreed(session: Any, action: Callable[[], Any]) -> Any:
    """With TLS, where the server wants it and nobody here minds: the library can only say yes or no."""
    try:
        return action()
    except irods_errors.NetworkException as error:
        if error.__context__ is not None and not isinstance(error.__context__, KeyError):
            raise  # of the network; KeyError: there was no connection yet, and this one was not agreed on
        account = session.pool.account
        if session.flexible and account.client_server_policy != REQUIRED:
            account.client_server_policy = REQUIRED
            return agreed(session, action)
        hint = f"it wants TLS, or has none: irods_client_server_policy is {account.client_server_policy}"
        raise Denied("no agreement with the server about TLS", host=account.host, hint=hint) from error
