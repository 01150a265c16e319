"""Many sends in one system call: an io_uring of the kernel, filled in columns.

What a `send` costs beside its work in the kernel, it costs for each; here it is paid once for up to
`SENDS_MAX` of them. The ring is two pieces of memory that the kernel shares with us (io_uring(7),
io_uring_setup(2), io_uring_enter(2)); numpy writes the requests there as columns, so a fan-out to
250 clients is three assignments and one call.

Nothing is left under way between two calls: each send is told not to wait, so the kernel has done
it, or refused it, before `io_uring_enter` returns, and has copied the bytes. What a full socket did
not take is the caller's to send as always.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import mmap
import os
import platform
import socket
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["ARENA_BYTES", "SENDS_MAX", "RingUnavailable", "SendRing", "find_ring"]

_log = logging.getLogger(__name__)

SENDS_MAX: Final = 256
#: What the frames of one call may take together.
ARENA_BYTES: Final = 256 * 1024

#: The same on all machines whose system calls were numbered together, which these were.
_SETUP: Final = 425
_ENTER: Final = 426
_MACHINES: Final = ("x86_64", "aarch64")
_OP_SEND: Final = 26
_ENTER_GETEVENTS: Final = 1
_FEATURE_SINGLE_MMAP: Final = 1
#: One thread submits, and reaps what is done when it asks: the kernel need not interrupt it.
_SETUP_FLAGS: Final = (1 << 12 | 1 << 13, 0)  # SINGLE_ISSUER | DEFER_TASKRUN, from Linux 6.1 on
_OFFSET_SQES: Final = 0x1000_0000

_OFFSETS: Final = [
    (name, "<u4")
    for name in ("head", "tail", "ring_mask", "ring_entries", "flags", "dropped", "array", "_")
]
_PARAMS: Final = np.dtype(
    [
        ("sq_entries", "<u4"),
        ("cq_entries", "<u4"),
        ("flags", "<u4"),
        ("sq_thread", "<u4", 2),
        ("features", "<u4"),
        ("wq_fd", "<u4"),
        ("reserved", "<u4", 3),
        ("sq", [*_OFFSETS, ("user_addr", "<u8")]),
        # Of the completions, `flags` and `dropped` are called `overflow` and `cqes`, in this place.
        ("cq", [*_OFFSETS, ("user_addr", "<u8")]),
    ]
)
_REQUEST: Final = np.dtype(
    [
        ("opcode", "u1"),
        ("flags", "u1"),
        ("ioprio", "<u2"),
        ("fd", "<i4"),
        ("offset", "<u8"),
        ("address", "<u8"),
        ("length", "<u4"),
        ("msg_flags", "<u4"),
        ("user_data", "<u8"),
        ("rest", "<u8", 3),
    ]
)
_COMPLETION: Final = np.dtype([("user_data", "<u8"), ("result", "<i4"), ("flags", "<u4")])

_library: Final = ctypes.CDLL(None, use_errno=True)


class RingUnavailable(OSError):
    """The kernel gives us no io_uring: it is too old, or somebody has forbidden it."""


class SendRing:
    """Sends to up to `SENDS_MAX` sockets in one call. For one thread.

    Raises:
        RingUnavailable: There is none here.
    """

    def __init__(self) -> None:
        if platform.machine() not in _MACHINES or platform.system() != "Linux":
            raise RingUnavailable(errno.ENOSYS, "no io_uring on this system")
        params = np.zeros(1, dtype=_PARAMS)
        self._fd = _set_up(params)
        try:
            self._map(params)
        except BaseException:
            os.close(self._fd)
            raise
        self._order = np.arange(SENDS_MAX, dtype=np.uint32)
        self._requests["opcode"] = _OP_SEND
        self._requests["msg_flags"] = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        self._requests["user_data"] = self._order
        self._arena = np.zeros(ARENA_BYTES, dtype=np.uint8)
        #: Where frames are put that are sent next.
        self.arena = self._arena.data
        self._base = np.uint64(self._arena.ctypes.data)
        #: What the kernel says when it takes nothing at all; then nothing more is asked of it.
        self.broken: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give it back."""
        os.close(self._fd)

    def send(self, descriptors: list[int], offsets: list[int], lengths: list[int]) -> list[int]:
        """Send a piece of the arena to each of these sockets.

        Args:
            descriptors: n sockets, each once, with n at most `SENDS_MAX`.
            offsets: Where in the arena its piece begins.
            lengths: How many bytes that has.

        Returns:
            How many bytes each took; 0 or a negative error number where it took none. If the kernel
            refuses the whole call, which it has no reason to, `broken` says why.
        """
        count = len(descriptors)
        order = self._order[:count]
        self._requests["fd"][:count] = descriptors
        addresses = self._requests["address"][:count]
        addresses[:] = offsets
        addresses += self._base
        self._requests["length"][:count] = lengths
        tail = self._sq_tail[0]
        self._sq_slots[(tail + order) & self._sq_mask] = order
        self._sq_tail[0] = tail + np.uint32(count)
        self._enter(count)
        head = self._cq_head[0]
        ended = order[: int(self._cq_tail[0] - head)]
        done = self._completions.take((head + ended) & self._cq_mask)
        self._cq_head[0] = head + np.uint32(len(ended))
        results = np.zeros(count, dtype=np.int32)
        results[done["user_data"]] = done["result"]
        return results.tolist()

    def _enter(self, count: int) -> None:
        """Have them done. With `MSG_DONTWAIT` they are when it returns, unless a signal came."""
        submitted = 0
        while (missing := count - int(self._cq_tail[0] - self._cq_head[0])) > 0:
            went = _library.syscall(
                _ENTER, self._fd, count - submitted, missing, _ENTER_GETEVENTS, None, 0
            )
            if went >= 0:
                submitted += went
                continue
            number = ctypes.get_errno()
            if number != errno.EINTR:
                # What was submitted before has been done, and nothing of the rest.
                self.broken = OSError(number, os.strerror(number))
                return

    def _map(self, params: NDArray[np.void]) -> None:
        """The memory that is shared with the kernel, as columns."""
        (found,) = params
        if not found["features"] & _FEATURE_SINGLE_MMAP:
            raise RingUnavailable(errno.ENOSYS, "this io_uring is too old")
        sq, cq = found["sq"], found["cq"]
        entries, completions = int(found["sq_entries"]), int(found["cq_entries"])
        cqes = int(cq["dropped"])
        size = max(int(sq["array"]) + 4 * entries, cqes + _COMPLETION.itemsize * completions)
        rings = mmap.mmap(self._fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        requests = mmap.mmap(
            self._fd,
            entries * _REQUEST.itemsize,
            mmap.MAP_SHARED | mmap.MAP_POPULATE,
            offset=_OFFSET_SQES,
        )

        def word(offset: int, count: int = 1) -> NDArray[np.uint32]:
            return np.frombuffer(rings, dtype=np.uint32, count=count, offset=offset)

        self._sq_tail = word(int(sq["tail"]))
        self._sq_mask = word(int(sq["ring_mask"]))[0]
        self._sq_slots = word(int(sq["array"]), entries)
        self._cq_head = word(int(cq["head"]))
        self._cq_tail = word(int(cq["tail"]))
        self._cq_mask = word(int(cq["ring_mask"]))[0]
        self._completions = np.frombuffer(rings, _COMPLETION, count=completions, offset=cqes)
        self._requests = np.frombuffer(requests, dtype=_REQUEST, count=entries)


def _set_up(params: NDArray[np.void]) -> int:
    number = 0
    for flags in _SETUP_FLAGS:
        params["flags"] = flags
        made = _library.syscall(_SETUP, SENDS_MAX, ctypes.c_void_p(params.ctypes.data))
        if made >= 0:
            return int(made)
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            break
    raise RingUnavailable(number, f"no io_uring here: {os.strerror(number)}")


def find_ring() -> SendRing | None:
    """A ring, if there may be one on this machine."""
    try:
        return SendRing()
    except OSError as error:
        _log.info("each send is a system call of its own: %s", error)
        return None
