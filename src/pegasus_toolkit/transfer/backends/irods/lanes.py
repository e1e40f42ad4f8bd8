"""One large data object over several connections, as the client library's parallel transfer does it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from irods import keywords

LARGE = 32 << 20  # bytes from which on several connections are used, as the iCommands do
PART = 4 << 20  # bytes of one request
LANES = 4  # connections of one object
SINCE = (4, 2, 9)  # servers that know replica tokens


class Lane:
    """An open data object, without the library's buffer. One call at a time."""

    def __init__(self, file: Any, at: int) -> None:
        """``at``: where it is; -1: not known."""
        self.file = file
        self.at = at

    def write(self, offset: int, data: bytes) -> None:
        """At that place."""
        self._seek(offset)
        done = 0
        while done < len(data):
            done += self.file.write(data[done:] if done else data)
        self.at += len(data)

    def read(self, offset: int, size: int) -> bytes:
        """From that place; fewer bytes only at the end."""
        self._seek(offset)
        buffer = bytearray(size)
        view, done = memoryview(buffer), 0
        while done < size and (got := self.file.readinto(view[done:])):
            done += got
        self.at += done
        return bytes(view[:done])

    def _seek(self, offset: int) -> None:
        if self.at != offset:
            self.file.seek(offset)
            self.at = offset


def opened(session: Any, path: str, mode: str, size: int | None, options: dict[str, str]) -> list[Lane]:
    """The data object over one connection; over several where it is large. The first ends the transfer when
    it is closed, the others only stop taking part, and must be closed before it."""
    lanes = [_lane(session, path, mode, **options)]
    if size is None or size < LARGE or session.server_version < SINCE:
        return lanes
    try:
        token, hierarchy = lanes[0].file.replica_access_info()
        more = {keywords.RESC_HIER_STR_KW: hierarchy, keywords.NUM_THREADS_KW: str(LANES)}
        if mode == "w":
            more |= {keywords.REPLICA_TOKEN_KW: token, keywords.DATA_SIZE_KW: str(size)}
        for _ in range(LANES - 1):
            how = {"create": False, "finalize_on_close": False}
            lanes.append(_lane(session, path, "a" if mode == "w" else mode, **how, **more))
    except BaseException:
        with suppress(Exception):  # the first error counts
            close(lanes)
        raise
    return lanes


def close(lanes: list[Lane]) -> None:
    """All of them; raises what the last to be closed, which ends the transfer, says."""
    for lane in lanes[:0:-1]:
        with suppress(Exception):  # it took no part in the end, or its bytes are missed
            lane.file.close()
    lanes[0].file.close()


def _lane(session: Any, path: str, mode: str, **options: Any) -> Lane:
    file = session.data_objects.open(path, mode, auto_close=False, allow_redirect=False, **options)
    return Lane(file.detach(), -1 if mode == "a" else 0)
