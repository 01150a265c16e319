"""Channels of one connection: incarnations, what they wait for, and what ends with them."""

from __future__ import annotations

import json

from presence_actors.core.vocabulary import Err, ErrorCode, Snap, Unlisten, Unset, Unsub
from presence_actors.wire.phoenix_channels import CHANNELS_MAX, Channels, is_stale, rejoined
from presence_actors.wire.phoenix_frames import Frame, Version
from presence_actors.wire.phoenix_presence import Rooms
from tests.phoenix_wire import LOBBY, NAMESPACE, diff, entry, snap


def channels(rooms: Rooms | None = None) -> Channels:
    """Those of a new connection."""
    rooms = Rooms() if rooms is None else rooms
    return Channels(version=Version.V2, namespace=NAMESPACE, rooms=rooms)


def frame(join_ref: str | None, ref: str | None = "9") -> Frame:
    """Something that a client says in the lobby."""
    return Frame(join_ref=join_ref, ref=ref, topic=LOBBY, event="e", payload={})


def test_what_ends_with_a_channel_is_what_it_began() -> None:
    """A channel that only listens has nothing else to end."""
    found = channels()
    one = found.open(LOBBY, LOBBY, "1", "1")
    one.is_tracked = one.is_listening = True
    found.subscribe(one)
    assert found.give_up(one) == [
        Unset(topic=LOBBY),
        Unsub(topics=[LOBBY]),
        Unlisten(topic=LOBBY),
    ]
    assert found.get(LOBBY) is None
    other = found.open(LOBBY, LOBBY, "2", "2")
    other.is_listening = True
    assert found.give_up(other) == [Unlisten(topic=LOBBY)]


def test_the_answers_of_a_channel_that_is_gone_are_for_nobody() -> None:
    """Those of the others stay."""
    found = channels()
    one, other = (found.open(topic, topic, "1", "1") for topic in ("room:a", "room:b"))
    first, second = found.ask("join", one, "1"), found.ask("track", other, "2")
    found.forget(one)
    assert found.granted(first, joined={}).frames == []
    assert found.denied(first, Err(code=ErrorCode.FORBIDDEN, message="no")).frames == []
    (frame,) = found.granted(second, joined={}).frames
    assert b"room:b" in frame
    assert found.granted(second, joined={}).frames == []


def test_a_join_waits_for_each_of_its_grants() -> None:
    """A track waits for its own answer alone."""
    found = channels()
    one = found.open(LOBBY, LOBBY, "1", "1")
    first, second = found.ask("join", one, "1"), found.ask("join", one, "1")
    track = found.ask("track", one, "2")
    assert found.granted(first, joined={"a": 1}).frames == []
    (tracked,) = found.granted(track, joined={"a": 1}).frames
    assert json.loads(tracked)[4] == {"status": "ok", "response": {}}
    (joined,) = found.granted(second, joined={"a": 1}).frames
    assert json.loads(joined)[4] == {"status": "ok", "response": {"a": 1}}


def test_a_diff_before_a_state_sends_the_client_back_for_one() -> None:
    """It could not be continued; a channel that did not subscribe hears neither."""
    found = channels()
    one = found.open(LOBBY, LOBBY, "1", "1")
    assert found.told(snap(entry("bob"))).frames == []
    found.subscribe(one)
    turn = found.told(diff(joins=(entry("bob"),)))
    assert [json.loads(said)[3] for said in turn.frames] == ["phx_error"]
    assert turn.messages == [Unsub(topics=[LOBBY])]


def test_a_state_in_parts_is_one_frame() -> None:
    """Nothing is said before its last part."""
    found = channels()
    found.subscribe(found.open(LOBBY, LOBBY, "1", "1"))
    first = Snap(topic=LOBBY, state=[entry("ann")], part=0, last=False)
    assert found.told(first).frames == []
    (text,) = found.told(Snap(topic=LOBBY, state=[entry("bob")], part=1, last=True)).frames
    assert sorted(json.loads(text)[4]) == ["ann", "bob"]


def test_there_are_so_many_channels_and_no_more() -> None:
    """When one goes there is room again, and all are forgotten with the connection."""
    rooms = Rooms()
    found = channels(rooms)
    opened = [found.open(f"room:{n}", f"room:{n}", "1", "1") for n in range(CHANNELS_MAX)]
    for one in opened:
        found.subscribe(one)
    full = found.are_full
    found.forget(opened[0])
    assert (full, found.are_full) == (True, False)
    assert len(rooms) == CHANNELS_MAX - 1
    found.forget_all()
    assert (len(rooms), len(found)) == (0, 0)


def test_a_frame_of_an_earlier_incarnation_is_stale() -> None:
    """One without a ref of any incarnation is not."""
    one = channels().open(LOBBY, LOBBY, "5", "5")
    assert is_stale(frame("1"), one)
    assert not is_stale(frame("5"), one)
    assert not is_stale(frame(None), one)
    assert (rejoined(frame(None, "7")), rejoined(frame("3", "7"))) == ("7", "3")


def test_nobody_is_answered_who_did_not_ask() -> None:
    """A frame without a ref; a heartbeat without one has its answer all the same."""
    found = channels()
    one = found.open(LOBBY, LOBBY, "5", "5")
    assert found.refuse(frame("5", None), "no").frames == []
    assert found.reply(one, None, "ok", {}) == []
    (text,) = found.accept(frame(None, None)).frames
    assert json.loads(text)[1] is None
    assert json.loads(found.closing(one)) == ["5", "5", LOBBY, "phx_close", {}]
