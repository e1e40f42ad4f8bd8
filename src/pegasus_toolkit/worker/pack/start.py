"""What a packed worker does first: finds a fitting Python, makes the packed libraries importable, begins.

This text becomes the archive's ``__main__``, after a line that defines ``PACKED``. It must be understood by
any Python 3, so that an old one can say what is wrong, and imports next to nothing, since it runs before
every job.
"""

# ruff: noqa: B905, F401, PTH100, PTH102, PTH103, PTH106, PTH108, PTH112, PTH118, PTH120, PTH123, RUF005, UP031, UP035

import os
import sys
import zipimport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Set, Tuple

# VERSION: the tag of its compiled modules -> what is packed for it:
#   "python": (3, 11); "glibc": (2, 17) or (); "code": where our modules are in the archive;
#   "always": groups unpacked at the start; "modules": module -> its group, unpacked when it is asked for;
#   "groups": group -> its files -> where they are in the archive
PACKED = globals().get("PACKED", {})
MARK = "PEGASUS_WORKER_EXECUTED"
HERE = os.path.abspath(sys.argv[0])


def main():  # type: () -> int
    """Runs the command; its exit code."""
    packed = PACKED.get(tag())
    problem = "" if packed else "no libraries for this Python are in it"
    if packed and libc() < packed["glibc"]:
        problem = "its libraries need glibc %s" % version(packed["glibc"])
        packed = None
    if not packed:
        again()
        return refuse(problem)
    os.environ.pop(MARK, None)
    libraries = Libraries(packed, private())
    try:
        sys.path[:1] = [HERE + "/" + packed["code"], libraries.place]
        sys.meta_path.insert(0, libraries)
        for group in packed["always"]:
            libraries.unpack(group)
        # By its name: what is packed is not of this package.
        command = __import__("pegasus_toolkit.cli.worker", fromlist=["main"]).main
        return int(command(sys.argv[1:]))
    finally:
        clear(libraries.place)


def tag():  # type: () -> str
    """What compiled modules must be made for: ``cpython-311-x86_64-linux-gnu``."""
    import _imp

    return _imp.extension_suffixes()[0].strip(".")[:-3]


def libc():  # type: () -> Tuple[int, ...]
    """The version of this machine's C library; a high one where it cannot be told."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
        return tuple(int(part) for part in name.split()[1].split("."))
    except (ValueError, OSError, IndexError):
        return (99,)


def version(numbers):  # type: (Tuple[int, ...]) -> str
    """As people write it."""
    return ".".join(str(number) for number in numbers)


def again():  # type: () -> None
    """Goes on as another Python of this machine that fits; returns where there is none."""
    if os.environ.get(MARK):
        return
    os.environ[MARK] = "1"
    wanted = sorted(set(one["python"] for one in PACKED.values()), reverse=True)
    places = os.environ.get("PATH", os.defpath).split(os.pathsep) + ["/usr/bin", "/usr/local/bin", "/opt/bin"]
    for numbers in wanted:
        for place in places:
            path = os.path.join(place, "python" + version(numbers))
            if numbers != sys.version_info[:2] and os.access(path, os.X_OK) and is_python(path, numbers):
                os.execv(path, [path, HERE] + sys.argv[1:])


def is_python(path, numbers):  # type: (str, Tuple[int, ...]) -> bool
    """Whether it is what its name says, and runs: managers of versions leave scripts of that name."""
    import subprocess

    try:
        found = subprocess.check_output(
            [path, "-c", "import sys; print(sys.version_info[:2])"], stderr=subprocess.DEVNULL, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return found.decode().strip() == repr(numbers)


def refuse(problem):  # type: (str) -> int
    """Says what is needed, on the job's error output and in its record."""
    needs = ", ".join(sorted("%s (%s)" % (version(one["python"]), tag) for tag, one in PACKED.items()))
    text = "this is Python %s (%s), %s; needed on PATH is one of: python %s" % (
        version(sys.version_info[:2]),
        tag(),
        problem,
        needs,
    )
    sys.stderr.write("pegasus-worker: %s\n" % text)
    words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    node, bundle = words.get("--node", ""), words.get("--bundle", "")
    if node and bundle and "/" not in node:
        leave(node, bundle, text)
    return 2


def leave(node, bundle, text):  # type: (str, str, str) -> None
    """What those who wait for the job's files expect: HTCondor would hold a job that leaves none."""
    import json
    import time

    outbox = ""
    try:
        with open(bundle, encoding="utf-8") as lines:
            for line in lines:
                found = json.loads(line)
                outbox = found.get("outbox", "") if found.get("node") == node else outbox
    except (OSError, ValueError):
        pass
    record = {
        "version": 1,
        "node": node,
        "host": os.uname()[1],
        "started": time.time(),
        "exit": 2,
        "error": text,
    }
    try:
        for name, content in ((node + ".json", record), (node + ".meta", [])):
            with open(name, "w", encoding="utf-8") as file:
                json.dump(content, file)
        if outbox and not os.path.isdir(outbox):
            os.mkdir(outbox)
    except OSError as error:
        sys.stderr.write("pegasus-worker: %s\n" % error)


def private():  # type: () -> str
    """A fresh directory of this process alone, where libraries may be run from."""
    environ = os.environ
    bases = [environ.get("_CONDOR_SCRATCH_DIR"), environ.get("TMPDIR"), ".", "/tmp", "/dev/shm"]
    error = None
    for base in bases:
        try:
            if base and not os.statvfs(base).f_flag & os.ST_NOEXEC:
                name = ".pegasus-worker-%d-%s" % (os.getpid(), os.urandom(4).hex())
                path = os.path.join(os.path.abspath(base), name)
                os.mkdir(path, 0o700)
                return path
        except OSError as found:
            error = found
    sys.exit("pegasus-worker: nowhere to unpack libraries: %s" % (error or "all places are noexec"))


def clear(path):  # type: (str) -> None
    """Removes the directory with all that is in it."""
    for directory, directories, files in os.walk(path, topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))
        for name in directories:
            os.rmdir(os.path.join(directory, name))
    os.rmdir(path)


class Libraries:
    """Unpacks a library when one of its modules is first imported."""

    def __init__(self, packed, place):  # type: (Dict[str, Any], str) -> None
        self.packed = packed
        self.place = place
        self.archive = zipimport.zipimporter(HERE)
        self.done = set()  # type: Set[str]

    def find_spec(self, name, path=None, target=None):  # type: (str, Any, Any) -> Any
        """Leaves the finding to others, once the files are there."""
        group = self.packed["modules"].get(name)
        if group is None:
            return None
        self.unpack(group)
        if "." not in name:
            return None
        from importlib.util import spec_from_file_location

        place = os.path.join(self.place, *name.split("."))
        return spec_from_file_location(name, place + "/__init__.py", submodule_search_locations=[place])

    def unpack(self, group):  # type: (str) -> None
        if group in self.done:
            return
        self.done.add(group)
        for file, member in self.packed["groups"][group].items():
            path = os.path.join(self.place, file)
            if "/" in file:
                os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as out:
                out.write(self.archive.get_data(member))
        sys.path_importer_cache.pop(self.place, None)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
