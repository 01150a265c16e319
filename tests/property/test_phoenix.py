"""Phoenix: whatever a client sends, and whatever happens in a room, the laws of the wire hold."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from presence_actors.core.vocabulary import Entry
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused
from tests.phoenix_wire import LOBBY, Line, diff, entry, frames_of, line, snap

_refs = st.none() | st.integers() | st.text(max_size=4) | st.just("3")
_topics = st.sampled_from([LOBBY, "phoenix", "room:", "user:alice", "room:\u0301"]) | st.text(
    max_size=9
)
_events = st.sampled_from(
    ["phx_join", "phx_leave", "heartbeat", "track", "untrack", "phx_close", "access_token"]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["meta", "track", "phx_ref", "a"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_frames = st.tuples(_refs, _refs, _topics, _events | st.text(max_size=9), _values)


def _take(at: Line, data: str | bytes) -> None:
    """A frame is taken, or refused; nothing else happens."""
    with suppress(FrameRefused):
        turn = at.dialog.receive(data)
        frames_of(turn)
        for message in turn.messages:
            at.grant(message)


@given(st.sampled_from(Version), st.lists(st.text() | st.binary(), max_size=4))
@example(Version.V2, ["[" * 2_000, "\ud800", b"\x00\xff\xff\xff\xff"])
def test_no_text_and_no_bytes_raise_anything_but_a_refusal(
    version: Version, frames: list[str | bytes]
) -> None:
    """Whatever comes in, the connection can go on."""
    at = line(version)
    for frame in frames:
        _take(at, frame)


@given(st.sampled_from(Version), st.lists(_frames, max_size=12))
def test_no_conversation_raises_anything_but_a_refusal(
    version: Version, frames: list[tuple[object, ...]]
) -> None:
    """Frames that make sense one by one, in an order that makes none."""
    at = line(version)
    for join_ref, ref, topic, event, payload in frames:
        said: object = [join_ref, ref, topic, event, payload]
        if version is Version.V1:
            said = {
                "join_ref": join_ref,
                "ref": ref,
                "topic": topic,
                "event": event,
                "payload": payload,
            }
        _take(at, json.dumps(said))
    at.dialog.closed()


def _entries(draw: st.DrawFn) -> dict[str, Entry]:
    """Some of a few devices, each showing one of two things."""
    devices = draw(
        st.dictionaries(
            st.sampled_from(["alice/1", "alice/2", "bob/1", "__proto__/1"]),
            st.sampled_from(["x", "y"]),
        )
    )
    return {
        name: entry(name.partition("/")[0], name, shows=shows) for name, shows in devices.items()
    }


@st.composite
def _histories(draw: st.DrawFn) -> list[dict[str, Entry]]:
    return [_entries(draw) for _ in range(draw(st.integers(1, 6)))]


@given(_histories())
def test_a_client_that_follows_diffs_holds_what_a_state_would_give_it(
    history: list[dict[str, Entry]],
) -> None:
    """No ref is in joins and in leaves of one diff, none is told twice, and all adds up."""
    rooms = Rooms()
    follower, newcomer = line(rooms=rooms).joined(), line(rooms=rooms).joined()
    before = history[0]
    state = _refs_of(follower.hear(snap(*before.values()))[0][4])
    for after in history[1:]:
        news = diff(
            joins=tuple(after[name] for name in after if name not in before),
            updates=tuple(
                after[name] for name in after if name in before and before[name] != after[name]
            ),
            leaves=tuple(before[name] for name in before if name not in after),
        )
        for frame in follower.hear(news):
            joins, leaves = (_refs_of(frame[4][side]) for side in ("joins", "leaves"))
            assert not joins & leaves
            assert not joins & state
            assert leaves <= state
            state = (state | joins) - leaves
        before = after
    assert state == _refs_of(newcomer.hear(snap(*before.values()))[0][4])


def _refs_of(presences: dict[str, Any]) -> set[str]:
    return {meta["phx_ref"] for presence in presences.values() for meta in presence["metas"]}
