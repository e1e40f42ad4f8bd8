"""A process of its own that holds gfal2: one JSON request a line on its input, answers on its output.

It runs under whichever interpreter has gfal2 (Debian's own, say), so it imports nothing of ours and
works on any Python 3. A process of its own also keeps one site's credential (taken from the
environment) from another's, can be ended at any time, and may crash without harm.

Answers: ``{"moved": bytes}`` any number of times, then ``{"value": ...}`` or ``{"errno": n, "error": text}``.
"""

# mypy: ignore-errors

import errno
import json
import os
import stat as modes
import sys


def _entry(name, found):
    return [name, found.st_size, modes.S_ISDIR(found.st_mode)]


class Verbs:
    """What can be asked for: method names and their arguments."""

    def __init__(self, gfal2, tell):
        self.context = gfal2.creat_context()
        authenticated = os.environ.get("DATA_CHANNEL_AUTHENTICATION") != "none"
        self.context.set_opt_boolean("GRIDFTP PLUGIN", "DCAU", authenticated)
        self.gfal2 = gfal2
        self.tell = tell

    def hello(self):
        """The library's version."""
        return self.gfal2.get_version()

    def stat(self, url):
        """Name, size, whether it is a directory."""
        return _entry("", self.context.stat(url))

    def list(self, url):
        """The same of all that is in a directory."""
        found = []
        directory = self.context.opendir(url)
        while True:
            entry, info = directory.readpp()
            if entry is None:
                return found
            if entry.d_name not in (".", ".."):
                found.append(_entry(entry.d_name, info))

    def mkdir(self, url):
        """Makes it and its parents."""
        self.context.mkdir_rec(url, 0o755)

    def unlink(self, url):
        """Removes a file."""
        self.context.unlink(url)

    def rmdir(self, url):
        """Removes an empty directory."""
        self.context.rmdir(url)

    def rename(self, old, new):
        """Gives a file another name."""
        self.context.rename(old, new)

    def checksum(self, url, algorithm):
        """The server's own."""
        return self.context.checksum(url, algorithm)

    def copy(self, source, destination, timeout):
        """One file, over what is there."""
        parameters = self.context.transfer_parameters()
        parameters.overwrite = True
        parameters.timeout = timeout
        parameters.monitor_callback = self._moved
        try:
            self.context.filecopy(parameters, source, destination)
        finally:
            parameters.monitor_callback = None
            del parameters  # before the context, or the interpreter may crash

    def _moved(self, *told):
        """Source, destination, mean rate, rate, bytes, seconds."""
        self.tell({"moved": told[4]})


def main():
    """Serves until its input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what the libraries print must not be taken for an answer

    def tell(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        import gfal2
    except ImportError as error:
        tell({"errno": 0, "error": str(error)})
        os._exit(3)
    verbs = Verbs(gfal2, tell)
    requests = os.fdopen(0, "r", encoding="ascii")
    while True:
        line = requests.readline()
        if not line:
            os._exit(0)  # its own threads may crash an orderly end
        verb, arguments = json.loads(line)
        try:
            tell({"value": getattr(verbs, verb)(*arguments)})
        except gfal2.GError as error:
            tell({"errno": error.code, "error": str(error.message)})
        except UnicodeError as error:
            tell({"errno": errno.EILSEQ, "error": str(error)})


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)
    sys.exit(0)
