"""Rooms as Phoenix clients see them: stable refs, netted diffs, keys that harm nobody."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Diff, Entry, Leave, Snap
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import (
    SMALL_FRAME_BYTES_MAX,
    Rooms,
    cleaned,
    phx_ref,
    presence_key,
)
from tests.phoenix_wire import LOBBY, NAMESPACE, diff, entry, line, snap

ALICE = entry("alice", mood="fine")


class Watcher:
    """One subscriber of the lobby, and the state that the stock client would hold."""

    def __init__(self, rooms: Rooms | None = None) -> None:
        self.rooms = Rooms() if rooms is None else rooms
        self.rooms.open(NAMESPACE, LOBBY)
        self.state: dict[str, list[dict[str, Any]]] = {}

    def hear(self, message: Snap | Diff) -> tuple[str, Any] | None:
        """What is pushed, decoded; and the state moves on by it."""
        pushed = self.rooms.push(NAMESPACE, message, version=Version.V2, topic=LOBBY)
        if not pushed:
            return None
        ((event, shared),) = pushed
        *_, same, payload = json.loads(b"[1" + shared)
        assert same == event
        if event == "presence_state":
            self.state = {key: presence["metas"] for key, presence in payload.items()}
        else:
            self._sync(payload)
        return event, payload

    def _sync(self, payload: Any) -> None:
        """As the stock client does it: joins first, then leaves."""
        for key, presence in payload["joins"].items():
            self.state.setdefault(key, []).extend(presence["metas"])
        for key, presence in payload["leaves"].items():
            gone = {meta["phx_ref"] for meta in presence["metas"]}
            assert gone <= {meta["phx_ref"] for meta in self.state[key]}
            self.state[key] = [meta for meta in self.state[key] if meta["phx_ref"] not in gone]
            if not self.state[key]:
                del self.state[key]

    @property
    def refs(self) -> dict[str, set[str]]:
        """The refs by key."""
        return {key: {meta["phx_ref"] for meta in metas} for key, metas in self.state.items()}


def test_a_ref_says_which_entry_and_what_is_shown_of_it() -> None:
    """Not since when: another gateway may know that less well."""
    same = msgspec.structs.replace(ALICE, since=WallMs(1))
    assert phx_ref(same) == phx_ref(ALICE)
    others = [
        entry("alice", "alice-2", mood="fine"),
        entry("alice", mood="bad"),
        entry("alice", mood="fine", status="away"),
        msgspec.structs.replace(ALICE, device="mobile"),
    ]
    assert len({phx_ref(one) for one in (ALICE, *others)}) == 5


def test_the_order_of_a_meta_does_not_matter() -> None:
    """Two gateways may have read it in different orders."""
    assert phx_ref(entry("a", x=1, y={"b": 1, "a": 2})) == phx_ref(
        entry("a", y={"a": 2, "b": 1}, x=1)
    )


def test_devices_of_one_user_stand_under_one_key() -> None:
    """In the order in which they came."""
    second = msgspec.structs.replace(entry("alice", "alice-2", n=2), since=WallMs(ALICE.since - 5))
    watcher = Watcher()
    event, payload = watcher.hear(snap(ALICE, second, entry("bob"))) or ("", {})
    assert event == "presence_state"
    assert list(payload) == ["alice", "bob"]
    assert [meta.get("n") for meta in payload["alice"]["metas"]] == [2, None]


def test_an_update_is_the_new_meta_in_joins_and_the_old_one_in_leaves() -> None:
    """With the ref of before; and no ref is in both."""
    watcher = Watcher()
    watcher.hear(snap(ALICE))
    event, payload = watcher.hear(diff(updates=(entry("alice", mood="new"),))) or ("", {})
    assert event == "presence_diff"
    [joined], [left] = payload["joins"]["alice"]["metas"], payload["leaves"]["alice"]["metas"]
    assert (joined["mood"], left["mood"]) == ("new", "fine")
    assert joined["phx_ref_prev"] == left["phx_ref"] == phx_ref(ALICE) != joined["phx_ref"]
    assert [meta["mood"] for meta in watcher.state["alice"]] == ["new"]


def test_a_change_that_shows_nothing_new_is_not_told() -> None:
    """The same ref in joins and leaves would make the stock client lose it."""
    watcher = Watcher()
    watcher.hear(snap(ALICE))
    same = msgspec.structs.replace(ALICE, since=WallMs(ALICE.since - 1))
    assert watcher.hear(diff(updates=(same,))) is None
    assert watcher.hear(diff(joins=(same,))) is None
    _, payload = watcher.hear(diff(leaves=(ALICE,))) or ("", {})
    assert payload["leaves"]["alice"]["metas"][0]["mood"] == "fine"
    assert watcher.state == {}


def test_a_leave_of_an_entry_that_was_never_shown_is_not_told() -> None:
    """The stock client would report a leave all the same."""
    watcher = Watcher()
    watcher.hear(snap(ALICE))
    assert watcher.hear(diff(leaves=(entry("bob"),))) is None


def test_a_state_comes_in_one_piece() -> None:
    """Parts would be taken for states of their own."""
    watcher = Watcher()
    assert watcher.hear(Snap(topic=LOBBY, state=[ALICE], part=0, last=False)) is None
    watcher.hear(Snap(topic=LOBBY, state=[entry("bob")], part=1, last=True))
    assert set(watcher.state) == {"alice", "bob"}


def test_a_continuation_is_a_second_state() -> None:
    """From which the stock client itself makes the net change."""
    watcher = Watcher()
    watcher.hear(snap(ALICE))
    missed = Diff(
        topic=LOBBY,
        updates=[entry("bob")],
        leaves=[Leave(ref=ALICE.ref, key=UserId("alice"), reason="left")],
        resumed=True,
    )
    event, payload = watcher.hear(missed) or ("", {})
    assert event == "presence_state"
    assert set(payload) == {"bob"}


def test_one_picture_serves_all_subscribers_of_a_room() -> None:
    """A message is taken in once, and every subscriber hears the same of it."""
    rooms = Rooms()
    first, second = Watcher(rooms), Watcher(rooms)
    for message in (snap(ALICE), diff(updates=(entry("alice", mood="new"),))):
        heard = first.hear(message)
        assert heard is not None
        assert second.hear(message) == heard
    assert first.state == second.state


def test_rooms_of_two_namespaces_do_not_meet() -> None:
    """Whatever they are called."""
    rooms = Rooms()
    rooms.open(NAMESPACE, LOBBY)
    rooms.open("other", LOBBY)  # type: ignore[arg-type]
    rooms.push(NAMESPACE, snap(ALICE), version=Version.V2, topic=LOBBY)
    other = rooms.push("other", snap(), version=Version.V2, topic=LOBBY)  # type: ignore[arg-type]
    assert other == [("presence_state", b',null,"room:lobby","presence_state",{}]')]


@pytest.mark.parametrize(
    ("user", "key"),
    [
        ("alice", "alice"),
        ("~alice", "~alice"),
        ("__proto__", "~__proto__"),
        ("constructor", "~constructor"),
        ("toString", "~toString"),
        ("hasOwnProperty", "~hasOwnProperty"),
        ("~constructor", "~~constructor"),
        ("~~constructor", "~~~constructor"),
        ("Constructor", "Constructor"),
    ],
)
def test_no_key_is_a_name_that_every_object_has(user: str, key: str) -> None:
    """Such a key throws in the handlers of everybody else; and no two users share one."""
    assert presence_key(UserId(user)) == key


def test_a_member_with_such_a_name_is_seen_by_all() -> None:
    """In states and in diffs."""
    watcher = Watcher()
    watcher.hear(snap(entry("constructor")))
    watcher.hear(diff(joins=(entry("__proto__"),)))
    assert set(watcher.state) == {"~constructor", "~__proto__"}
    watcher.hear(diff(leaves=(entry("constructor"), entry("__proto__"))))
    assert watcher.state == {}


def test_a_native_client_cannot_forge_a_ref_either() -> None:
    """What is shown is cleaned, whoever wrote it."""
    forged = entry("mallory", phx_ref="c1e04986c943835b80", phx_ref_prev="x")
    watcher = Watcher()
    watcher.hear(snap(forged))
    assert watcher.refs == {"mallory": {phx_ref(forged)}}
    assert cleaned(forged.meta) == {}


def test_what_an_application_says_wins_over_what_the_gateway_knows() -> None:
    """`status` and `device` are there for clients that say nothing of them."""
    [state] = line().joined().hear(snap(entry("alice", status="away"), entry("bob", device="tv")))
    assert state[4]["alice"]["metas"][0]["status"] == "away"
    assert state[4]["bob"]["metas"][0]["device"] == "tv"


def test_an_entry_keeps_its_name_whatever_happens_in_between() -> None:
    """Gone and come back as it was: the ref of before."""
    watcher = Watcher()
    watcher.hear(snap(ALICE))
    before = watcher.refs
    watcher.hear(diff(leaves=(ALICE,)))
    watcher.hear(diff(joins=(ALICE,)))
    assert watcher.refs == before
    assert isinstance(ALICE, Entry)


def test_a_large_room_comes_in_frames_that_python_clients_take() -> None:
    """A state, and then what else there is as joins; the same picture as in one frame."""
    rooms = Rooms()
    rooms.open(NAMESPACE, LOBBY)
    crowd = [entry(f"user-{number}", text="x" * 300) for number in range(6_000)]

    def pushed(message: Snap | Diff, *, small: bool) -> list[tuple[str, Any]]:
        found = rooms.push(NAMESPACE, message, version=Version.V2, topic=LOBBY, small=small)
        if small:
            assert all(len(shared) <= SMALL_FRAME_BYTES_MAX + 1_000 for _, shared in found)
        return [(event, json.loads(b"[1" + shared)[4]) for event, shared in found]

    whole = snap(*crowd)
    ((event, state),) = pushed(whole, small=False)
    first, *rest = pushed(whole, small=True)
    assert len(rest) >= 2
    assert (event, first[0]) == ("presence_state", "presence_state")
    met = dict(first[1])
    for kind, payload in rest:
        assert (kind, payload["leaves"]) == ("presence_diff", {})
        met |= payload["joins"]
    assert met == state

    # An update stays in one frame: a leave in an earlier one would be a moment of absence.
    changed = diff(updates=tuple(entry(f"user-{n}", text="y" * 300) for n in range(6_000)))
    for kind, payload in pushed(changed, small=True):
        assert kind == "presence_diff"
        assert list(payload["joins"]) == list(payload["leaves"]) != []


def test_a_small_room_is_one_frame_for_everybody() -> None:
    """Whatever the client takes."""
    rooms = Rooms()
    rooms.open(NAMESPACE, LOBBY)
    message = snap(ALICE)
    one = rooms.push(NAMESPACE, message, version=Version.V2, topic=LOBBY)
    assert rooms.push(NAMESPACE, message, version=Version.V2, topic=LOBBY, small=True) == one
    empty = snap()
    (pushed,) = rooms.push(NAMESPACE, empty, version=Version.V2, topic=LOBBY, small=True)
    assert json.loads(b"[1" + pushed[1])[4] == {}
