"""The stories that must hold, in the simulated world and on real Ray alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from presence_actors.client.events import Join, Leave, Status, Update, View
from tests.stories.stage import Person, Stage
from tests.stories.telling import (
    SOON_MS,
    all_online,
    at_home,
    gone_after_ms,
    is_back,
    news_of,
    of_kind,
    shows,
    statuses_of,
    told,
    until_all,
    until_true,
)

__all__ = ["STORIES"]


async def people_meet(stage: Stage) -> None:
    """Four people on two gateways see each other come, change, choose, and go."""
    alice, bob, carol, dave = people = [
        await stage.person("alice", gateway=0),
        await stage.person("bob", gateway=0, device="mobile"),
        await stage.person("carol", gateway=1),
        await stage.person("dave", gateway=1, device="web"),
    ]
    names = {person.name for person in people}
    for person in people:
        await person.join("lobby", mood="new")
        await person.watch(*names - {person.name})
    await until_all(stage, people, "see four people", lambda p: set(p.who("lobby")) == names)
    others = {p.name: names - {p.name} for p in people}
    await until_all(
        stage,
        people,
        "see the others online",
        lambda p: all(p.status(name) == "online" for name in others[p.name]),
    )

    await bob.update("lobby", mood="happy")
    await until_all(
        stage,
        people,
        "see bob's mood",
        lambda p: [entry.meta for entry in p.who("lobby")["bob"]] == [{"mood": "happy"}],
    )
    await carol.set_status("away")
    await until_all(
        stage, [alice, bob, dave], "see carol away", lambda p: p.status("carol") == "away"
    )
    await alice.set_intent("dnd", text="writing")
    await until_all(
        stage, [bob, carol, dave], "see alice's choice", lambda p: p.status("alice") == "dnd"
    )
    await dave.leave("lobby")
    await until_all(stage, people, "see dave go", lambda p: set(p.who("lobby")) == names - {"dave"})
    told = [alice, bob, carol]
    await until_all(stage, told, "hear of dave's going", lambda p: bool(of_kind(p, Leave)))
    for person in told:
        assert [leave.reason for leave in of_kind(person, Leave)] == ["left"]
        assert person.status("dave") == "online", "who leaves a room is not offline"
        joins = [join.entry.key for join in of_kind(person, Join)]
        assert sorted(joins) == sorted(names), "everybody came once"


async def many_devices(stage: Stage) -> None:
    """Closing one of two devices does not turn the user off; the most available one shows."""
    desk = await stage.person("bob", gateway=0)
    phone = await stage.person("bob", gateway=1, device="mobile")
    alice = await stage.person("alice", gateway=1)
    await alice.watch("bob")
    await stage.until("bob is online", lambda: alice.status("bob") == "online", within_ms=SOON_MS)
    await desk.set_status("away")
    await stage.elapse(500)
    assert alice.status("bob") == "online", "the telephone is still in use"
    await phone.set_status("away")
    await stage.until("bob is away", lambda: alice.status("bob") == "away", within_ms=SOON_MS)
    await phone.freeze()
    await stage.elapse(gone_after_ms(stage) + 1_000)
    assert alice.status("bob") == "away", "the desk is still there"
    assert "offline" not in statuses_of(alice, "bob")


async def silence_is_not_leaving_at_once(stage: Stage) -> None:
    """A client that falls silent is offline after its lease and grace, by `timeout`, not before.

    bob    joins --x  (silent)
    alice        online ......................... offline, reason timeout
                      |<- lease ->|<- grace ->|
    """
    alice = await stage.person("alice", gateway=0)
    bob = await stage.person("bob", gateway=1)
    await bob.join("lobby")
    await alice.observe("lobby")
    await alice.watch("bob")
    await stage.until("bob is there", lambda: "bob" in alice.who("lobby"), within_ms=SOON_MS)
    await stage.until("bob is online", lambda: alice.status("bob") == "online", within_ms=SOON_MS)
    await bob.freeze()
    # The last beat may be one interval old already.
    await stage.elapse(gone_after_ms(stage) - 2 * stage.knobs.heartbeat_ms)
    assert alice.status("bob") == "online"
    assert not of_kind(alice, Leave)
    within_ms = 2 * stage.knobs.heartbeat_ms + SOON_MS
    await stage.until("bob is off", lambda: alice.status("bob") == "offline", within_ms=within_ms)
    await stage.until("bob has left", lambda: not alice.who("lobby"), within_ms=SOON_MS)
    await stage.until("alice hears of it", lambda: bool(of_kind(alice, Leave)), within_ms=SOON_MS)
    assert [leave.reason for leave in of_kind(alice, Leave)] == ["timeout"]
    assert of_kind(alice, Status)[-1].reason == "timeout"
    assert of_kind(alice, Status)[-1].last_seen is not None


async def back_within_the_grace(stage: Stage) -> None:
    """A client that loses its connection and comes back, at the other gateway, causes no event."""
    alice = await stage.person("alice", gateway=0)
    bob = await stage.person("bob", gateway=1)
    await bob.join("lobby", mood="steady")
    await alice.observe("lobby")
    await alice.watch("bob")
    await stage.until("bob is there", lambda: "bob" in alice.who("lobby"), within_ms=SOON_MS)
    await stage.until("bob is online", lambda: alice.status("bob") == "online", within_ms=SOON_MS)
    before = len(alice.heard)
    for _ in range(3):
        await bob.drop()
        await stage.elapse(stage.knobs.grace_connection_ms + 1_000)
    assert news_of(alice, before) == []
    await bob.update("lobby", mood="back")
    await stage.until(
        "the change comes",
        lambda: [entry.meta for entry in alice.who("lobby")["bob"]] == [{"mood": "back"}],
        within_ms=SOON_MS,
    )
    assert [type(event) for event in news_of(alice, before)] == [Update]


async def a_worker_is_killed(stage: Stage, *, hard: bool) -> None:
    """Gateways attach elsewhere; no session is lost, no leave is heard; the worker fills itself.

    w0   serves --X          (new life) unknown ... filled, ready
    w1   serves ----------------------------------------------->
    """
    people = [await stage.person(f"p{n}", gateway=n % 2) for n in range(6)]
    names = {person.name for person in people}
    for person in people:
        await person.join("lobby")
        await person.watch(*names - {person.name})
    await until_all(stage, people, "see everybody", lambda p: set(p.who("lobby")) == names)
    await until_all(stage, people, "know everybody", lambda p: all_online(p, names))
    before = {person.name: len(person.heard) for person in people}
    old = await stage.life("w0")
    await stage.kill("w0", hard=hard)
    await stage.elapse(stage.knobs.unreachable_after_ms + 1_500)
    await people[0].update("lobby", n=1)
    await people[1].update("lobby", n=1)
    for name in ("p0", "p1"):
        await until_all(
            stage, people, f"see {name}'s change", partial(shows, user=name, meta={"n": 1})
        )
    await until_true(stage, "a new life of w0 is filled", partial(is_back, stage, "w0", old))
    await until_true(stage, "the replicas agree", stage.replicas_agree)
    for person in people:
        news = news_of(person, before[person.name])
        assert [event for event in news if isinstance(event, Join | Leave)] == []
        # On a machine that stalls, the gateways may need so long to move that silence shows. That
        # is honest; under the virtual clock it does not happen (see the scenarios).
        statuses = {event.status for event in news if isinstance(event, Status)}
        assert statuses <= {"unreachable", "online"}
        assert set(person.who("lobby")) == names


async def a_restarted_worker_says_unknown(stage: Stage) -> None:
    """A new life that cannot reach its peer vouches for nothing until it can.

    w0   --X  (new life)  unknown ......... heal, filled, ready
    w1        x- - - - cut - - - - x
    """
    alice = await stage.person("alice", gateway=0)
    await alice.join("lobby")
    await stage.until("alice is there", lambda: "alice" in alice.who("lobby"), within_ms=SOON_MS)
    await stage.cut(["w0"], ["w1"])
    old = await stage.life("w0")
    await stage.kill("w0", hard=True)

    async def is_anew() -> bool:
        return await stage.life("w0") not in ("", old)

    await until_true(stage, "w0 lives anew", is_anew)
    await stage.elapse(stage.knobs.startup_grace_ms + 1_000)
    assert not await stage.is_ready("w0")
    assert set(alice.who("lobby")) == {"alice"}
    assert not of_kind(alice, Leave)
    await stage.heal()
    await until_true(stage, "w0 is filled", partial(stage.is_ready, "w0"))
    await until_true(stage, "the replicas agree", stage.replicas_agree)
    assert not of_kind(alice, Leave)


async def a_gateway_is_killed(stage: Stage) -> None:
    """Its 200 clients return within the grace; watchers hear nothing.

    To the other gateway, or to the next life of theirs, if that is there when they try again.
    """
    watcher = await stage.person("watcher", gateway=1)
    crowd = [await stage.person(f"c{n:03}", gateway=0) for n in range(200)]
    names = {person.name for person in crowd}
    for person in crowd:
        await person.join("hall")
    await watcher.observe("hall")
    await watcher.watch(*sorted(names)[:50])
    await stage.until("all there", lambda: set(watcher.who("hall")) == names, within_ms=4 * SOON_MS)
    some = set(sorted(names)[:50])
    await stage.until("all online", lambda: all_online(watcher, some), within_ms=SOON_MS)
    before = len(watcher.heard)
    held, old = await stage.sessions_at("g1"), await stage.life("g0")
    await stage.kill("g0", hard=True)

    async def are_back() -> bool:
        is_anew = await stage.life("g0") not in ("", old)
        there = await stage.sessions_at("g0") if is_anew else 0
        return there + await stage.sessions_at("g1") >= held + len(crowd)

    await until_true(stage, "the crowd is back", are_back, within_ms=stage.knobs.grace_gateway_ms)
    await stage.elapse(stage.knobs.gateway_lease_ms + stage.knobs.grace_gateway_ms + 2_000)
    assert news_of(watcher, before) == []
    assert set(watcher.who("hall")) == names


async def a_gateway_is_drained(stage: Stage) -> None:
    """Its people go to the other gateway, one by one; nobody hears of it; it stays empty."""
    watcher = await stage.person("watcher", gateway=1)
    crowd = [await stage.person(f"c{n:02}", gateway=0) for n in range(60)]
    names = {person.name for person in crowd}
    for person in crowd:
        await person.join("hall")
    await watcher.observe("hall")
    await watcher.watch(*sorted(names))
    await stage.until("all there", lambda: set(watcher.who("hall")) == names, within_ms=SOON_MS)
    await stage.until("all online", lambda: all_online(watcher, names), within_ms=SOON_MS)
    before = len(watcher.heard)
    held = await stage.sessions_at("g1")
    await stage.drain("g0", spread_ms=1_000)
    try:

        async def are_moved() -> bool:
            return await stage.sessions_at("g1") >= held + len(crowd)

        await until_true(stage, "all are at g1", are_moved, within_ms=SOON_MS)
        await stage.elapse(stage.knobs.grace_connection_ms + stage.knobs.client_lease_ms)
        assert await stage.sessions_at("g0") == 0
        assert news_of(watcher, before) == []
        assert set(watcher.who("hall")) == names
    finally:
        await stage.end_drain("g0")


async def _change_on_both_sides(stage: Stage, everybody: list[Person]) -> None:
    alice, desk, carol, phone = everybody
    await desk.set_intent("dnd", text="left side")
    await phone.set_intent("away", text="right side")
    await alice.update("lobby", side="left")
    await carol.update("lobby", side="right")
    left_guest = await stage.person("lena", gateway=0, stays=True)
    right_guest = await stage.person("rick", gateway=1, stays=True)
    await left_guest.join("lobby")
    await right_guest.join("lobby")
    # Comes and goes while the other side cannot hear it: nobody there must ever know.
    await alice.join("den")
    await alice.leave("den")


async def two_sides_of_a_cut(stage: Stage) -> None:
    """Both sides go on; nobody is offline by the cut; after it, watchers get the net and no more.

    w0 g0  alice, eve's desk     --------- x 10 s x --------- same as
    w1 g1  carol, eve's phone    --------- x      x --------- w1
    """
    # Nobody crosses the cut, whatever else happens to a connection meanwhile.
    await at_home(stage)
    alice = await stage.person("alice", gateway=0, stays=True)
    desk = await stage.person("eve", gateway=0, stays=True)
    carol = await stage.person("carol", gateway=1, stays=True)
    phone = await stage.person("eve", gateway=1, device="mobile", stays=True)
    everybody = [alice, desk, carol, phone]
    names = {"alice", "carol", "eve"}
    for person in everybody:
        await person.join("lobby")
        await person.watch(*names)
    await until_all(
        stage, everybody, "see everybody", lambda p: sum(map(len, p.who("lobby").values())) == 4
    )
    await until_all(stage, everybody, "know everybody", lambda p: all_online(p, names))

    before = {id(person): len(person.heard) for person in everybody}
    await stage.cut(["w0", "g0"], ["w1", "g1"])
    await stage.elapse(1_000)
    await _change_on_both_sides(stage, everybody)
    await stage.elapse(8_000)
    for watcher, inside, user in (
        (alice, names | {"lena"}, "carol"),
        (carol, names | {"rick"}, "alice"),
    ):
        seen = (set(watcher.who("lobby")), watcher.status(user))
        assert seen == (inside, "unreachable"), told(watcher, before[id(watcher)])
    for watcher, user in ((alice, "carol"), (carol, "alice")):
        last = [event for event in of_kind(watcher, Status) if event.user == user][-1]
        assert last.as_of is not None
    assert alice.status("eve") == "dnd", "her desk is on this side"
    assert carol.status("eve") == "away", "her telephone is on this side"
    assert [event.quality for event in of_kind(alice, View)][-1] == "partial"

    await stage.heal()
    await until_true(stage, "contact", stage.in_contact)
    await until_true(stage, "the replicas agree", stage.replicas_agree, within_ms=1_000)
    everywhere = names | {"lena", "rick"}
    await until_all(stage, everybody, "see all", lambda p: set(p.who("lobby")) == everywhere)
    await until_all(
        stage,
        everybody,
        "see both changes",
        lambda p: shows(p, "alice", {"side": "left"}) and shows(p, "carol", {"side": "right"}),
    )
    await until_all(stage, everybody, "agree on eve", lambda p: p.status("eve") in ("dnd", "away"))
    await stage.until(
        "the two sides show one eve",
        lambda: (
            len({p.status("eve") for p in everybody}) == 1
            and all(p.status("alice") == p.status("carol") == "online" for p in everybody)
        ),
        within_ms=SOON_MS,
    )
    for person in everybody:
        news = [
            event
            for event in news_of(person, before[id(person)])
            if getattr(event, "topic", "room:lobby") == "room:lobby"
        ]
        assert not [event for event in news if isinstance(event, Leave)], told(
            person, before[id(person)]
        )
        joined = sorted(event.entry.key for event in news if isinstance(event, Join))
        assert joined == ["lena", "rick"], told(person, before[id(person)])
        statuses = [event.status for event in news if isinstance(event, Status)]
        assert "offline" not in statuses
        views = [event for event in news if isinstance(event, View)]
        assert views[-1].quality == "complete"


STORIES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "people_meet": people_meet,
    "many_devices": many_devices,
    "silence_is_not_leaving_at_once": silence_is_not_leaving_at_once,
    "back_within_the_grace": back_within_the_grace,
    "a_worker_is_killed_by_ray": partial(a_worker_is_killed, hard=False),
    "a_worker_is_killed_by_signal": partial(a_worker_is_killed, hard=True),
    "a_restarted_worker_says_unknown": a_restarted_worker_says_unknown,
    "a_gateway_is_killed": a_gateway_is_killed,
    "a_gateway_is_drained": a_gateway_is_drained,
    "two_sides_of_a_cut": two_sides_of_a_cut,
}
