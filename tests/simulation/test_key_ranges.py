"""Who looks at a part of a long list hears of that part, at any gateway, and of nobody else."""

from __future__ import annotations

from typing import Final

import pytest

from presence_actors.core.effects import LeaveHappened, UpdateHappened
from presence_actors.core.vocabulary import KeyRange, Patch, Sub, Unset
from presence_actors.sim.world import Client, World
from tests.simulation.steering import (
    ROOM,
    agree,
    arrive,
    asks,
    in_room,
    joins,
    leaves,
    place,
    small_world,
)

pytestmark = pytest.mark.simulation

_B_TO_D: Final = KeyRange(start="b", end="d")


def _frames_to(world: World, reader: Client) -> list[str]:
    """All frames that reach the reader from now on."""
    frames: list[str] = []
    carry = world._carry_to

    def carry_to(client: Client, attempt: int, frame: str) -> None:
        if client is reader:
            frames.append(frame)
        carry(client, attempt, frame)

    world._carry_to = carry_to  # type: ignore[method-assign]
    return frames


def test_a_reader_of_a_range_hears_of_its_users_and_of_nobody_else() -> None:
    """Neither in snapshots nor in differences, and changes of others make no frames.

    ```
    alice  bob  caro  dave
           [---------)       the reader's range
    ```
    """
    world = small_world(seed=11)
    people = {name: arrive(world, name, [0, 1]) for name in ("alice", "bob", "dave")}
    reader = world.client("reader", gateways=[1, 0])
    frames = _frames_to(world, reader)
    reader.ask(Sub(topics=[ROOM], keys=_B_TO_D))
    world.run(300)
    assert in_room(reader) == ["bob"]
    people["caro"] = arrive(world, "caro", [0, 1])
    said = len(frames)
    people["alice"].ask(Patch(topic=ROOM, meta={"n": 1}))
    asks(world, people["dave"], Unset(topic=ROOM))
    assert [frame for frame in frames[said:] if '"diff"' in frame] == []
    asks(world, people["bob"], Unset(topic=ROOM))
    assert in_room(reader) == ["caro"]
    assert (joins(reader), leaves(reader)) == (["bob", "caro"], [("bob", "left")])
    assert not [frame for frame in frames if "alice" in frame or "dave" in frame]


def test_a_reader_of_a_range_resumes_at_another_gateway_where_it_was() -> None:
    """By its cursor: only what changed in its range comes, and each change once.

    ```
    g0  reader X                     reader at g1: carol changed, bob left
    alice, carol change, bob leaves
    ```
    """
    world = small_world(seed=12)
    place(world, {0: 0, 1: 1})
    people = {name: arrive(world, name, [1]) for name in ("alice", "bob", "carol")}
    reader = world.client("reader", gateways=[0, 1])
    frames = _frames_to(world, reader)
    reader.ask(Sub(topics=[ROOM], keys=_B_TO_D))
    world.run(400)
    told, said = len(reader.told), len(frames)
    world.tear(reader, noticed_after_ms=30)
    for name in ("alice", "carol"):
        people[name].ask(Patch(topic=ROOM, meta={"n": 1}))
    people["bob"].ask(Unset(topic=ROOM))
    world.run(3_000)
    news = [event for _, event in reader.told[told:]]
    changed = [event.entry.key for event in news if isinstance(event, UpdateHappened)]
    gone = [event.entry.key for event in news if isinstance(event, LeaveHappened)]
    assert (changed, gone) == (["carol"], ["bob"])
    rooms = [frame for frame in frames[said:] if '"snap"' in frame or '"resumed"' in frame]
    assert len(rooms) == 1
    assert '"resumed":true' in rooms[0]
    assert not [frame for frame in frames if "alice" in frame]


def test_a_reader_that_looks_at_another_range_sees_that_one() -> None:
    """Its cursor is of no use for that: who is there comes as a snapshot, the others leave.

    ```
    alice  bob  carol  dave
    [-----------)              at first
           [-----------)       then, amid a loss of the wire
    ```
    """
    world = small_world(seed=13)
    for name in ("alice", "bob", "carol", "dave"):
        arrive(world, name, [0, 1])
    reader = world.client("reader", gateways=[0, 1])
    reader.ask(Sub(topics=[ROOM], keys=KeyRange(end="c")))
    world.run(300)
    assert in_room(reader) == ["alice", "bob"]
    reader.ask(Sub(topics=[ROOM], keys=_B_TO_D))
    world.tear(reader, noticed_after_ms=30)
    world.run(1_500)
    assert agree(world)
    assert in_room(reader) == ["bob", "carol"]
    assert joins(reader) == ["alice", "bob", "carol"]
    assert leaves(reader) == [("alice", "")]
    reader.ask(Sub(topics=[ROOM]))
    world.run(300)
    assert in_room(reader) == ["alice", "bob", "carol", "dave"]
