"""Digests: the right values, names and lengths, and nothing taken from what is no file."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_toolkit.integrity import digests

TOOLS = {"sha256": "sha256sum", "sha512": "sha512sum", "sha384": "sha384sum", "sha224": "sha224sum"}
TOOLS |= {"sha1": "sha1sum", "md5": "md5sum"}


@pytest.mark.parametrize("algorithm", TOOLS)
@pytest.mark.parametrize(
    "size", [0, 1, 4096, digests.BLOCK - 1, digests.BLOCK, digests.BLOCK + 1, 3 * digests.BLOCK]
)
def test_a_file_has_the_digest_that_coreutils_tells(tmp_path: Path, algorithm: str, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    told = subprocess.run(
        [TOOLS[algorithm], path], capture_output=True, check=True, text=True
    ).stdout.split()[0]
    found = digests.of_file(path, algorithm)
    assert (found.digest, found.size) == (told, size)
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (
            "blake3",
            "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
        ),  # its authors' test vector
        ("adler32", "024d0127"),  # RFC 1950's function of "abc"
        ("crc32", "352441c2"),
        ("crc32c", "364b3fb7"),
    ],
)
def test_known_values_of_abc(algorithm: str, expected: str) -> None:
    hasher = digests.new(algorithm)
    hasher.update(b"a")
    hasher.update(memoryview(bytearray(b"bc")))
    assert hasher.hexdigest() == expected


@pytest.mark.parametrize("algorithm", digests.HEX_LENGTH)
def test_a_value_has_the_length_that_the_table_says(algorithm: str) -> None:
    value = digests.new(algorithm).hexdigest()
    assert digests.normalise(algorithm, value) == (algorithm, value)


@given(st.binary(), st.binary())
def test_checksums_of_32_bits_keep_leading_zeros(a: bytes, b: bytes) -> None:
    for name, function in (("adler32", zlib.adler32), ("crc32", zlib.crc32)):
        hasher = digests.new(name)
        hasher.update(a)
        hasher.update(b)
        assert hasher.hexdigest() == f"{function(a + b):08x}"


@pytest.mark.parametrize("name", ["SHA-256", "sha256", "SHA256", "sha_256", " Sha-256 "])
def test_names_are_understood_as_people_write_them(name: str) -> None:
    assert digests.normalise(name, "AB" * 32 + "\n") == ("sha256", "ab" * 32)


@pytest.mark.parametrize(
    "value", ["", "ab" * 16, "ab" * 31 + "a", "ab" * 33, "g" * 64, "ａ" * 64, "0x" + "a" * 62]
)
def test_what_is_no_sha256_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a sha256 has 64 hex digits"):
        digests.normalise("sha256", value)


@pytest.mark.parametrize("name", ["sha257", "", "shake_128", "__class__", "new"])
def test_an_unknown_algorithm_is_named_with_the_known_ones(name: str) -> None:
    with pytest.raises(digests.UnsupportedAlgorithm, match=r"known are: sha256, blake3") as caught:
        digests.new(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("algorithm", "hint"), [("blake3", "pegasus-toolkit[blake3]"), ("crc32c", "install crc32c")]
)
def test_a_library_that_is_missing_is_named_with_the_command_that_installs_it(
    algorithm: str, hint: str
) -> None:
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"  # as if it were not installed
        "from pegasus_toolkit.integrity import digests\n"
        "try: digests.new(sys.argv[1])\n"
        "except digests.UnsupportedAlgorithm as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code, algorithm], capture_output=True, check=True, text=True)
    assert hint in done.stdout


def test_no_library_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys\n"
        "from pegasus_toolkit.integrity import digests\n"
        "print({'hashlib', 'blake3', 'zlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"


def test_only_regular_files_have_digests(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # opening it for reading would wait for a writer for ever
    with pytest.raises(OSError, match="Not a regular file"):
        digests.of_file(fifo, "sha256")
    with pytest.raises(IsADirectoryError):
        digests.of_file(tmp_path, "sha256")
    with pytest.raises(FileNotFoundError):
        digests.of_file(tmp_path / "none", "sha256")


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    test_only_regular_files_have_digests(tmp_path)
    digests.of_file(__file__, "sha256")
    assert os.listdir("/proc/self/fd") == before


def test_crc32c_needs_no_more_than_its_extension() -> None:
    """The package looks for its own version when it is imported."""
    pytest.importorskip("crc32c")
    code = (
        "import sys\n"
        "from pegasus_toolkit.integrity import digests\n"
        "hasher = digests.new('crc32c')\n"
        "hasher.update(b'123456789')\n"
        "print(hasher.hexdigest(), 'importlib.metadata' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["e3069283", "False"]
