"""Many sends by one call of the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
from collections.abc import Iterator

import pytest

from presence_actors.edge import ring as ring_module
from presence_actors.edge.ring import SENDS_MAX, SendRing, find_ring


@pytest.fixture
def ring() -> Iterator[SendRing]:
    """One, if the kernel allows it."""
    found = find_ring()
    if found is None:
        pytest.skip("the kernel gives no io_uring here")
    with found:
        yield found


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connected sockets."""
    with contextlib.ExitStack() as stack:
        made = [socket.socketpair() for _ in range(SENDS_MAX)]
        for ends in made:
            for end in ends:
                end.setblocking(False)
                stack.callback(end.close)
        yield made


Pairs = list[tuple[socket.socket, socket.socket]]


def test_each_gets_its_own_piece(ring: SendRing, pairs: Pairs) -> None:
    """More rounds than the ring has places, so that it goes round."""
    descriptors = [ours.fileno() for ours, _ in pairs]
    for number in range(5):
        ring.arena[:4] = f"a{number}bc".encode()
        for count in (SENDS_MAX, 3):
            offsets = [index % 3 for index in range(count)]
            assert ring.send(descriptors[:count], offsets, [2] * count) == [2] * count
            for offset, (_, theirs) in zip(offsets, pairs, strict=False):
                assert theirs.recv(10) == f"a{number}bc".encode()[offset : offset + 2]


def test_a_full_socket_takes_a_part_and_then_nothing(ring: SendRing, pairs: Pairs) -> None:
    """The others do not notice."""
    (full, _), (well, theirs) = pairs[:2]
    descriptors, size = [full.fileno(), well.fileno()], 100_000
    taken = size
    while taken == size:
        taken, other = ring.send(descriptors, [0, 0], [size, 2])
        assert other == 2
    assert taken < size
    assert ring.send(descriptors, [0, 0], [size, 2]) == [-errno.EAGAIN, 2]
    assert len(theirs.recv(1_000)) >= 4
    assert ring.broken is None


def test_an_end_that_is_gone_is_an_error_of_that_one(ring: SendRing, pairs: Pairs) -> None:
    """And no signal, which would end the process."""
    pairs[0][1].close()
    descriptors = [pairs[0][0].fileno(), pairs[1][0].fileno()]
    assert ring.send(descriptors, [0, 0], [2, 2]) == [-errno.EPIPE, 2]
    assert ring.send([1 << 30], [0], [2]) == [-errno.EBADF]


class _Library:
    """A kernel that refuses, or is interrupted first."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def syscall(self, *words: object) -> int:
        """One of the numbers after the other, and then what the real one does."""
        if not self.numbers:
            answer: int = ring_module.__dict__["_real"].syscall(*words)
            return answer
        ctypes.set_errno(self.numbers.pop(0))
        return -1


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> _Library:
    """Its next calls fail as a test says."""
    refusing = _Library()
    monkeypatch.setattr(ring_module, "_real", ring_module._library, raising=False)
    monkeypatch.setattr(ring_module, "_library", refusing)
    return refusing


def test_a_kernel_that_takes_nothing_is_not_asked_again(
    ring: SendRing, pairs: Pairs, library: _Library
) -> None:
    """Nothing was sent, and that is what the caller hears."""
    library.numbers = [errno.EINTR, errno.EBUSY]
    assert ring.send([pairs[0][0].fileno()], [0], [2]) == [0]
    assert ring.broken is not None
    assert ring.broken.errno == errno.EBUSY
    with pytest.raises(BlockingIOError):
        pairs[0][1].recv(10)


def test_where_io_uring_is_forbidden_there_is_none(library: _Library) -> None:
    """As in a container with the usual rules."""
    library.numbers = [errno.EPERM]
    assert find_ring() is None


def test_an_older_kernel_is_asked_for_less(ring: SendRing, library: _Library) -> None:
    """The flags are from Linux 6.1 on."""
    library.numbers = [errno.EINVAL]
    with SendRing():
        assert library.numbers == []
