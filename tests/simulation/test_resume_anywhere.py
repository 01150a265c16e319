"""A subscriber that loses its connection again and again, and comes back to any gateway.

The trials at random are in `resuming`; the stories here are those of which no trial tells.
"""

from __future__ import annotations

from typing import Final

import pytest

from presence_actors.core.vocabulary import Intent, Ok, Patch, Set, Sub, Unset
from presence_actors.sim.world import Client
from tests.simulation import resuming
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import ROOM, arrive, in_room, leaves, place, small_world, watch

pytestmark = pytest.mark.simulation

#: Within this all is told that can be: replicas meet, and idle ones have promised.
_QUIET_MS: Final = 2 * KNOBS.drift_ms_max + 1_500
#: Worlds of the short form; each has some 120 trials.
_WORLDS: Final = 24
#: The long form is told in parts, so that they can run side by side.
_PARTS: Final = 10
_TRIALS: Final = 100_000


@pytest.mark.parametrize("seed", range(1, 1 + _WORLDS))
def test_a_subscriber_that_returns_anywhere_misses_nothing_and_hears_nothing_twice(
    seed: int,
) -> None:
    """Some thousand returns, each at random to a gateway with the same or another replica."""
    assert resuming.run(seed).count > 0


@pytest.mark.soak
@pytest.mark.timeout(7_200)
@pytest.mark.parametrize("part", range(_PARTS))
def test_a_hundred_thousand_returns_miss_nothing_and_double_nothing(part: int) -> None:
    """The same for as many worlds as that takes."""
    count, seed = 0, 1_000 + 10_000 * part
    while count < _TRIALS // _PARTS:
        count += resuming.run(seed).count
        seed += 1


def test_a_cursor_from_a_zone_that_nobody_knows_is_answered_by_a_snapshot() -> None:
    """What it says would be waited for in vain, and the check of the picture with it.

    ```
    g0  reader X                      reader at g1, with a cursor of zone b --> bob is gone
    bob          --invisible-->
    ```
    """
    world = small_world(seed=7)
    place(world, {0: 0, 1: 1})
    reader = world.client("reader", gateways=[0, 1])
    reader.ask(Sub(topics=[ROOM]))
    bob = world.client("bob", gateways=[1])
    bob.ask(Set(topic=ROOM, meta={"n": 1}))
    world.run(400)
    assert in_room(reader) == ["bob"]
    world.tear(reader, noticed_after_ms=0)
    picture = reader.machine._watched._pictures[ROOM]
    assert picture.cursor is not None
    picture.cursor = resuming.renamed(picture.cursor, zone="b")
    bob.ask(Intent(status="invisible"))
    assert world.run_until(lambda: in_room(reader) == [], _QUIET_MS)


def test_a_return_tells_nothing_of_somebody_who_was_never_seen() -> None:
    """Neither that somebody invisible came, nor that it went: no frame names it.

    ```
    g0  reader X                                reader again
    eve    invisible --joins-- --changes-- --leaves-->
    ```
    """
    world = small_world(seed=5)
    place(world, {0: 0, 1: 1})
    reader = world.client("reader", gateways=[0, 1])
    reader.ask(Sub(topics=[ROOM]))
    eve = world.client("eve", gateways=[1])
    eve.ask(Intent(status="invisible"))
    world.run(400)
    eve.ask(Set(topic=ROOM, meta={"n": 1}))
    world.run(400)
    frames: list[str] = []
    carry = world._carry_to

    def carry_to(client: Client, attempt: int, frame: str) -> None:
        if client is reader:
            frames.append(frame)
        carry(client, attempt, frame)

    world._carry_to = carry_to  # type: ignore[method-assign]
    for step in (Patch(topic=ROOM, meta={"n": 2}), Unset(topic=ROOM), Set(topic=ROOM, meta={})):
        world.drop(reader)
        eve.ask(step)
        world.run(_QUIET_MS)
    assert any('"resumed":true' in frame for frame in frames)
    assert not [frame for frame in frames if "eve" in frame or '"leaves"' in frame]
    assert in_room(reader) == []


def test_who_hid_while_a_subscriber_was_away_leaves_its_picture() -> None:
    """No frame names her who became invisible; the check shows that the picture is not right.

    ```
    g0  reader X                     reader at g1 --> she has left
    eve          --invisible-->
    ```
    """
    world = small_world(seed=6)
    place(world, {0: 0, 1: 1})
    reader = world.client("reader", gateways=[0, 1])
    reader.ask(Sub(topics=[ROOM]))
    eve = world.client("eve", gateways=[1])
    eve.ask(Set(topic=ROOM, meta={"n": 1}))
    world.run(400)
    assert in_room(reader) == ["eve"]
    world.drop(reader)
    eve.ask(Intent(status="invisible"))
    assert world.run_until(lambda: in_room(reader) == [], _QUIET_MS)


def test_who_leaves_while_its_wire_is_lost_has_left_when_it_is_back() -> None:
    """And not after the grace: the next gateway, which knew nothing of the room, ends the entry.

    ```
    g0  eve X --leaves-->
    g1                   eve again --> she has left, by her own will
    ```
    """
    world = small_world(seed=8)
    place(world, {0: 0, 1: 1})
    reader = watch(world, [1], name="reader")
    eve = arrive(world, "eve", [0, 1])
    world.run(400)
    world.tear(eve, noticed_after_ms=30)
    asked = eve.ask(Unset(topic=ROOM))
    assert world.run_until(lambda: in_room(reader) == [], KNOBS.grace_connection_ms // 2)
    assert leaves(reader) == [("eve", "left")]
    assert isinstance(eve.answers[asked], Ok)
