"""Sessions: ids that tell when they began, entries and their epochs, patches."""

from __future__ import annotations

import random

import pytest

from presence_actors.config import Knobs
from presence_actors.core.epochs import entry_epoch, refuting_epoch
from presence_actors.core.ids import Namespace, NodeId, SessionId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.sessions import (
    Connection,
    Session,
    merge_patch,
    meta_size,
    mint_session,
    session_start,
    welcome_of,
)
from presence_actors.core.values import (
    EndValue,
    EntryStatus,
    EntryValue,
    LeaveReason,
    decode_end,
    decode_entry,
    pack_status,
)
from presence_actors.core.vocabulary import Identity, Welcome

IDENTITY = Identity(namespace=Namespace("default"), user=UserId("alice"))
OWN = Topic("default/user:alice")
ROOM = Topic("default/room:lobby")
GATEWAY = NodeId("a/g0/01")
SINCE = WallMs(1_000)


def session(resume: int = 2) -> Session:
    """Alice's browser."""
    return Session(
        IDENTITY,
        SessionId("s1"),
        resume=resume,
        status=EntryStatus.ONLINE,
        device="web",
        since=SINCE,
    )


def test_a_minted_id_tells_when_the_session_began() -> None:
    """At any gateway, for ever."""
    minted = mint_session(WallMs(1_760_000_000_123), random.Random(1))
    assert session_start(minted) == 1_760_000_000_123


def test_two_minted_ids_of_one_moment_differ() -> None:
    """Chance keeps them apart; no id can be guessed from another."""
    rng = random.Random(1)
    assert mint_session(SINCE, rng) != mint_session(SINCE, rng)


@pytest.mark.parametrize("strange", ["", "abc", "0123456789zz-00", "0123456789ab0-00", "-00"])
def test_an_id_that_a_client_made_up_tells_no_start(strange: str) -> None:
    """Another length, or no number."""
    assert session_start(strange) is None


def test_a_new_connection_carries_no_session_and_watches_nothing() -> None:
    """Before its hello."""
    connection = Connection(IDENTITY)
    assert connection.identity == IDENTITY
    assert (connection.session, connection.topics) == (None, {})
    assert (connection.bad_frames, connection.said_bye) == (0, False)


def test_a_session_is_known_by_tenant_user_and_id_and_has_the_users_topic() -> None:
    """Two tenants may have the same user with the same session id."""
    found = session()
    assert found.key == ("default", "alice", "s1")
    assert found.topic == OWN


def test_an_entry_is_held_under_resume_and_attachment() -> None:
    """A later change keeps its start, takes the new meta, and never lowers its epoch."""
    found = session(resume=2)
    held = found.hold(ROOM, attachment=3, since=WallMs(5_000), meta={"a": 1})
    assert (held.epoch, held.since) == (entry_epoch(resume=2, attachment=3), 5_000)
    again = found.hold(ROOM, attachment=1, since=WallMs(9_000), meta={"b": 2})
    assert again is held
    assert (held.epoch, held.since) == (entry_epoch(resume=2, attachment=3), 5_000)
    assert held.meta == {"b": 2}


def test_the_rooms_of_a_session_are_its_entries_without_the_users_topic() -> None:
    """The own topic is the gateway's doing, not the client's."""
    found = session()
    found.hold(OWN, attachment=1, since=SINCE, meta={})
    found.hold(ROOM, attachment=1, since=SINCE, meta={})
    assert list(found.rooms()) == [ROOM]


def test_an_entry_becomes_an_unstamped_row_with_the_flags_of_its_session() -> None:
    """Unsure until the intent is known; hidden if it says so."""
    found = session()
    found.hold(ROOM, attachment=1, since=SINCE, meta={"mood": "ok"})
    row = found.row(ROOM, GATEWAY)
    assert row.key == (ROOM, "alice", "s1")
    assert (row.stamp, row.origin, row.holder) == (0, "", GATEWAY)
    assert row.epoch == entry_epoch(resume=2, attachment=1)
    assert row.status == pack_status(EntryStatus.ONLINE, unsure=True)
    assert decode_entry(row.value) == EntryValue(SINCE, "web", {"mood": "ok"})
    found.sure, found.hidden, found.status = True, True, EntryStatus.DND
    assert found.row(ROOM, GATEWAY).status == pack_status(EntryStatus.DND, hidden=True)


def test_the_end_of_an_entry_is_a_removed_row_with_its_epoch_and_reason() -> None:
    """So it ends what was written under it, and nothing newer."""
    found = session()
    found.hold(ROOM, attachment=4, since=SINCE, meta={})
    row = found.end_row(ROOM, GATEWAY, LeaveReason.TIMEOUT)
    assert not row.live
    assert row.epoch == entry_epoch(resume=2, attachment=4)
    assert (row.holder, decode_end(row.value)) == (GATEWAY, EndValue("timeout"))


def test_an_entry_that_is_announced_anew_takes_resume_and_attachment_of_now() -> None:
    """Upwards only: an entry that was refuted under a later attachment stays where it is."""
    found = session(resume=2)
    held = found.hold(ROOM, attachment=1, since=SINCE, meta={})
    found.resume = 3
    found.raise_epoch(ROOM, attachment=5)
    assert held.epoch == entry_epoch(resume=3, attachment=5)
    refuted = held.epoch = refuting_epoch(held.epoch, beaten=held.epoch)
    found.raise_epoch(ROOM, attachment=5)
    assert held.epoch == refuted


def test_an_entry_of_a_replaced_session_is_announced_with_its_old_resume() -> None:
    """It must not beat the entry that its new holder will write."""
    found = session(resume=2)
    held = found.hold(ROOM, attachment=1, since=SINCE, meta={})
    found.replaced, found.resume = True, 7
    found.raise_epoch(ROOM, attachment=2)
    assert held.epoch == entry_epoch(resume=2, attachment=2)


def test_the_welcome_tells_who_where_and_how_long() -> None:
    """Every number that a client keeps to comes from the knobs."""
    knobs = Knobs()
    assert welcome_of(
        session(), knobs, gateway="a/g0", gateways=["ws://g0", "ws://g1"], wall=WallMs(9_000)
    ) == Welcome(
        session=SessionId("s1"),
        user=UserId("alice"),
        resume=2,
        since=SINCE,
        heartbeat_ms=knobs.heartbeat_ms,
        lease_ms=knobs.client_lease_ms,
        grace_ms=knobs.grace_connection_ms,
        grace_gateway_ms=knobs.grace_gateway_ms,
        server_ms=WallMs(9_000),
        gateway="a/g0",
        gateways=["ws://g0", "ws://g1"],
    )


def test_the_size_of_a_meta_is_that_of_its_json() -> None:
    """In bytes, not characters."""
    assert meta_size({}) == 2
    assert meta_size({"a": "\N{SNOWMAN}"}) == len('{"a":""}') + 3


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1]}, {"a": {"b": None}}, {"a": {}}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ],
)
def test_a_patch_does_what_rfc_7396_says(
    target: dict[str, object], patch: dict[str, object], merged: dict[str, object]
) -> None:
    """The examples of its appendix whose both sides are objects; the target stays as it was."""
    before = repr(target)
    assert merge_patch(target, patch) == merged
    assert repr(target) == before
