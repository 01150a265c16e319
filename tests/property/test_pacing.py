"""The ladder for slow readers: whatever they do, in whatever order, its promises hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.ids import ConnectionId
from presence_actors.core.instants import Instant
from presence_actors.core.limits import LAG_MEMORY_MS, LAG_MS_MAX, LAG_STATE_MS
from presence_actors.core.pacing import LagStep, Pacing

_STOCK, _NATIVE = ConnectionId(1), ConnectionId(2)
_deeds = st.lists(
    st.tuples(
        st.sampled_from(["lag", "read", "wait", "go"]),
        st.sampled_from([_STOCK, _NATIVE]),
        st.integers(0, 12) | st.integers(0, LAG_MEMORY_MS),
    ),
    max_size=40,
)


@given(_deeds)
def test_nobody_waits_for_ever_and_nobody_gets_what_he_has_no_words_for(
    deeds: list[tuple[str, ConnectionId, int]],
) -> None:
    """Each lag has an end; states keep their distance, and never meet an unread one."""
    pacing, now = Pacing(), 0
    behind: dict[ConnectionId, int] = {}
    shown: dict[ConnectionId, int] = {}
    for deed, who, span in deeds:
        now += span
        at = Instant(now)
        for lost in pacing.take_lost(at):
            assert at >= behind.pop(lost) + LAG_MS_MAX
            pacing.forget(lost)
            shown.pop(lost, None)
        for whole in pacing.take_recovered(at):
            assert whole not in behind
            shown.pop(whole, None)
        for due in pacing.take_due_states(at):
            assert due == _STOCK
            assert due not in behind
            assert at >= shown[due] + LAG_STATE_MS
            shown[due] = at
        assert all(at < since + LAG_MS_MAX for since in behind.values())
        if deed == "lag" and pacing.note_lag(who, at):
            behind.setdefault(who, at)
        elif deed == "lag":
            assert who == _NATIVE
            pacing.forget(who)
        elif deed == "read":
            found = pacing.note_caught_up(who, at, knows_counts=who == _NATIVE)
            since = behind.pop(who, None)
            if found is not None:
                assert since is not None
                assert found[1] == at - since
                assert found[0] != (LagStep.SPARSE if who == _NATIVE else LagStep.COUNTS)
                if found[0] is LagStep.SPARSE:
                    shown[who] = at
        elif deed == "go":
            pacing.forget(who)
            behind.pop(who, None)
            shown.pop(who, None)
        assert pacing.is_held(_STOCK) == (_STOCK in behind)
        assert not pacing.is_counting(_STOCK)
        assert not pacing.is_sparse(_NATIVE)
    for who in (_STOCK, _NATIVE):
        pacing.forget(who)
    assert pacing.deadline() is None
