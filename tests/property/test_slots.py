"""Who comes in during a storm: however the clients are mixed, the rate holds and all come in."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from hypothesis import given
from hypothesis import strategies as st

from presence_actors.edge.slots import RetrySlots

_WAIT_MS_MAX = 60_000


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60),
    st.integers(1, 20).map(lambda tens: tens * 10),
    st.integers(1, 5),
)
def test_all_come_in_at_the_rate_whether_they_wait_here_or_come_again(
    arrivals: list[tuple[int, bool]], per_s: int, burst: int
) -> None:
    """Stock clients keep their place, native ones come again when they were told to."""
    slots = RetrySlots(per_s=per_s, burst=burst, wait_ms_max=_WAIT_MS_MAX)
    coming = [(float(at), index, is_stock) for index, (at, is_stock) in enumerate(arrivals)]
    heapify(coming)
    came: list[float] = []
    tries = 0
    while coming:
        at, index, is_stock = heappop(coming)
        tries += 1
        if is_stock:
            wait_ms = slots.reserve(at, wait_ms_max=_WAIT_MS_MAX)
            assert wait_ms is not None
            came.append(at + wait_ms)
        elif wait_ms := slots.take(at):
            heappush(coming, (at + wait_ms, index, is_stock))
        else:
            came.append(at)
    assert len(came) == len(arrivals)
    # Whoever comes again may find that others have taken the place: once more for each of them.
    assert tries <= len(arrivals) * (len(arrivals) + 1)
    came.sort()
    for first, start in enumerate(came):
        for last in range(first, len(came)):
            # A moment is a whole millisecond, and each may be rounded.
            most = burst + (came[last] - start + 2) * per_s / 1_000 + 1
            assert last - first + 1 <= most
