"""A pyftpdlib server, run as a program: ftp_pyftpdlib.py CONFIG, JSON as ``tests.servers.ftp`` writes it."""

import json
import sys
from pathlib import Path

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import ThreadedFTPServer

LOOK, READ, ALL = "el", "elr", "elradfmwMT"


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    authorizer = DummyAuthorizer()
    authorizer.add_user(config["user"], config["password"], config["data"], perm=ALL)
    authorizer.add_user("reader", config["password"], config["data"], perm=READ)
    authorizer.add_user("looker", config["password"], config["data"], perm=LOOK)
    if not config["cert"]:
        authorizer.add_anonymous(config["data"], perm=ALL)
    kind = TLS_FTPHandler if config["cert"] else FTPHandler

    class Handler(kind):  # type: ignore[misc, valid-type]
        use_sendfile = False
        max_login_attempts = 3
        auth_failed_timeout = 0
        banner = "test server"

    Handler.authorizer = authorizer
    if config["cert"]:
        Handler.certfile, Handler.keyfile = config["cert"], config["key"]
        Handler.tls_control_required = Handler.tls_data_required = True
    ThreadedFTPServer(("127.0.0.1", config["port"]), Handler).serve_forever()


if __name__ == "__main__":
    main()
