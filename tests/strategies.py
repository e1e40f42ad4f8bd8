"""Hypothesis strategies that tests share: names, paths, URLs, entries of a specification, operations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pegasus_toolkit.transfer import spec
from pegasus_toolkit.transfer.model import Operation

# Every letter that a name may hold: no control characters, and no halves of surrogate pairs.
LETTERS = st.characters(exclude_categories=("Cc", "Cs"))
AWKWARD = st.sampled_from(" '\"$%&;|<>()[]{}*?!#~`\\:,=+@-.é漢😀\u2028\u00a0")


def names(max_size: int = 20) -> st.SearchStrategy[str]:
    """Names of files: anything but ``/``, ``.`` and ``..``."""
    text = st.text(LETTERS | AWKWARD, min_size=1, max_size=max_size).map(lambda s: s.replace("/", "_"))
    return text.filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)


def paths() -> st.SearchStrategy[str]:
    """Absolute paths of local files, with whatever letters."""
    return st.lists(names(), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


def sites() -> st.SearchStrategy[str]:
    """Site labels."""
    return st.text(LETTERS, max_size=8) | st.sampled_from(["local", "my-site", "condor_pool"])


def local_urls(schemes: tuple[str, ...] = ("file",)) -> st.SearchStrategy[str]:
    """URLs of local files in their several spellings; no variables, ``$`` is written ``$$``."""
    path = paths().map(lambda s: s.replace("$", "$$"))
    bare = path if "file" in schemes else st.nothing()
    forms = st.sampled_from([f"{s}:{rest}" for s in schemes for rest in ("", "//", "//localhost")])
    return bare | st.builds(lambda form, path: form + path.replace("%", "%25"), forms, path)


def remote_urls() -> st.SearchStrategy[str]:
    """URLs of other hosts."""
    host = st.from_regex(r"[a-z][a-z0-9.-]{0,12}(:[0-9]{1,5})?", fullmatch=True)
    user = st.just("") | st.from_regex(r"[a-z]{1,8}@", fullmatch=True)
    scheme = st.sampled_from(["http", "https", "s3", "s3s", "gs", "scp", "gsiftp", "root", "new+thing"])
    query = st.just("") | names().map(lambda s: "?" + s)
    return st.builds(lambda *parts: "".join(parts), scheme, st.just("://"), user, host, paths(), query)


def urls() -> st.SearchStrategy[str]:
    """URLs that are right, of any sort but ``symlink:`` and ``moveto:``."""
    return local_urls() | remote_urls()


def _places(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    optional = {"priority": st.integers(-5, 100), "type": names(), **more}
    place = st.fixed_dictionaries({"site_label": sites(), "url": urls()}, optional=optional)
    return st.lists(place, min_size=1, max_size=3)


def transfers() -> st.SearchStrategy[dict[str, Any]]:
    """Entries of transfers that are right, plainly spelt."""
    checksum = st.fixed_dictionaries({"value": st.text("0123456789abcdef", min_size=64, max_size=64)})
    return st.fixed_dictionaries(
        {"type": st.just("transfer"), "src_urls": _places(), "dest_urls": _places()},
        optional={
            "id": st.integers(0, 9),
            "lfn": names(),
            "linkage": st.sampled_from(["input", "output", "unknown"]),
            "generate_checksum": st.booleans(),
            "verify_checksum_remote": st.booleans(),
            "verify_symlink_source": st.booleans(),
            "attributes": st.dictionaries(names(), names(), max_size=2),
            "checksum": checksum,
            "size": st.integers(0, 2**50),
            "manifest": local_urls(),
        },
    )


def entries() -> st.SearchStrategy[dict[str, Any]]:
    """Entries of any kind that are right."""
    target = st.fixed_dictionaries({"site_label": sites(), "url": urls()})
    mkdir = st.fixed_dictionaries({"type": st.just("mkdir"), "target": target})
    remove = st.fixed_dictionaries({"type": st.just("remove"), "target": target})
    return transfers() | mkdir | remove


def operations() -> st.SearchStrategy[Operation]:
    """Operations, as ``spec`` makes them."""
    made = st.builds(
        spec.transfer,
        urls(),
        urls(),
        source_site=sites(),
        destination_site=sites(),
        lfn=names(),
        size=st.integers(0, 2**50),
        generate_checksum=st.booleans(),
    )
    return (
        made
        | st.builds(spec.mkdir, urls(), site=sites())
        | st.builds(spec.remove, urls(), site=sites(), recursive=st.booleans())
    )


def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value, often with the keys of a specification in it."""
    keys = st.sampled_from(
        ["type", "id", "lfn", "src_urls", "dest_urls", "target", "url", "site_label", "priority", "value"]
    ) | st.sampled_from(["recursive", "size", "checksum", "attributes", "manifest", "generate_checksum"])
    text = st.sampled_from(["transfer", "mkdir", "remove", "/a", "s3://b/c", "true", "7"]) | st.text(
        max_size=9
    )
    leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=6)
        ),
        max_leaves=15,
    )
