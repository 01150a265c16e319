"""The stories of two zones: two clusters, joined by peer links alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from presence_actors.client.events import Join, Leave, Status, View
from tests.stories.stage import Person, Stage
from tests.stories.telling import (
    SOON_MS,
    all_online,
    news_of,
    of_kind,
    told,
    until_all,
    until_true,
)

__all__ = ["ZONE_STORIES"]

_WORKERS_A = ["a/w0", "a/w1"]
_WORKERS_B = ["b/w0", "b/w1"]


async def _people_of_two_zones(stage: Stage) -> list[Person]:
    """Alice and anna in zone a, bert and bea in zone b, all in the lobby and on watch lists."""
    people = [
        await stage.person("alice", gateway=0),
        await stage.person("anna", gateway=1),
        await stage.person("bert", gateway=0, zone="b"),
        await stage.person("bea", gateway=1, zone="b"),
    ]
    names = {person.name for person in people}
    for person in people:
        await person.join("lobby")
        await person.watch(*names - {person.name})
    await until_all(stage, people, "see everybody", lambda p: set(p.who("lobby")) == names)
    await until_all(stage, people, "know everybody", lambda p: all_online(p, names))
    return people


async def two_zones_cut_apart(stage: Stage) -> None:
    """Each zone goes on; nobody is offline by the cut; after it everybody hears the net.

    zone a   alice, anna   ----- x  30 s  x --- contact, equal within 1 s
    zone b   bert, bea     ----- x        x ---
    """
    people = await _people_of_two_zones(stage)
    alice, anna, bert, bea = people
    names = {person.name for person in people}
    before = {person.name: len(person.heard) for person in people}
    await stage.cut(_WORKERS_A, _WORKERS_B)
    await stage.elapse(15_000)
    await alice.set_intent("dnd", text="in a meeting")
    await anna.leave("lobby")
    await bert.update("lobby", side="b")
    guest = await stage.person("boris", gateway=1, zone="b")
    await guest.join("lobby")
    await stage.elapse(15_000)
    for watcher, user in ((alice, "bert"), (anna, "bea"), (bert, "anna"), (bea, "alice")):
        assert watcher.status(user) == "unreachable"
        last = [event for event in of_kind(watcher, Status) if event.user == user][-1]
        assert last.as_of is not None
    assert set(alice.who("lobby")) == names - {"anna"}
    assert set(bea.who("lobby")) == names | {"boris"}
    assert of_kind(alice, View)[-1].silent == ["b"]

    await stage.heal()
    await until_true(stage, "contact", stage.in_contact)
    await until_true(stage, "the replicas agree", stage.replicas_agree, within_ms=1_000)
    inside = (names - {"anna"}) | {"boris"}
    await until_all(stage, people, "see the net", lambda p: set(p.who("lobby")) == inside)
    await until_all(stage, people[1:], "see alice's choice", lambda p: p.status("alice") == "dnd")
    await until_all(stage, people, "see bert", lambda p: p.name == "bert" or _online(p, "bert"))
    await until_all(
        stage, people, "see all there is", lambda p: of_kind(p, View)[-1].quality == "complete"
    )
    for person in people:
        news = news_of(person, before[person.name])
        joined = [event.entry.key for event in news if isinstance(event, Join)]
        left = [event.entry.key for event in news if isinstance(event, Leave)]
        assert (joined, left) == (["boris"], ["anna"]), told(person, before[person.name])
        statuses = [event.status for event in news if isinstance(event, Status)]
        assert "offline" not in statuses


def _online(person: Person, user: str) -> bool:
    return person.status(user) == "online"


async def a_zone_killed_for_good(stage: Stage) -> None:
    """Its people stay unreachable until an operator retires the zone; then they leave."""
    alice, anna, *_ = await _people_of_two_zones(stage)
    before = {person.name: len(person.heard) for person in (alice, anna)}
    await stage.end_zone("b")
    await stage.elapse(stage.knobs.unreachable_ms_max + 5_000)
    for watcher in (alice, anna):
        assert watcher.status("bert") == watcher.status("bea") == "unreachable"
        assert set(watcher.who("lobby")) == {"alice", "anna", "bert", "bea"}
        assert not of_kind(watcher, Leave)
    await stage.retire_zone("b")
    for watcher in (alice, anna):
        await stage.until(
            f"{watcher.name} sees zone b leave",
            partial(_has_heard_of_the_end, watcher),
            within_ms=SOON_MS,
        )
        assert {leave.reason for leave in of_kind(watcher, Leave)} == {"retired"}
        news = news_of(watcher, before[watcher.name])
        ended = [event for event in news if isinstance(event, Status) and event.status == "offline"]
        assert {(event.user, event.reason) for event in ended} == {
            ("bert", "retired"),
            ("bea", "retired"),
        }
        assert of_kind(watcher, View)[-1].quality == "complete"


def _has_heard_of_the_end(person: Person) -> bool:
    return (
        set(person.who("lobby")) == {"alice", "anna"}
        and person.status("bert") == person.status("bea") == "offline"
        and of_kind(person, View)[-1].quality == "complete"
    )


ZONE_STORIES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "two_zones_cut_apart": two_zones_cut_apart,
    "a_zone_killed_for_good": a_zone_killed_for_good,
}
