"""What a replica writes into the durable map."""

from __future__ import annotations

from crdt import Row, Rows, epoch_resume
from presence_actors.core.durable import choices, records_of_last_seen
from presence_actors.core.instants import WallMs
from presence_actors.core.values import LAST_SEEN_KEY, decode_last_seen
from tests.unit.core.building import LOBBY, WALL, end, entry, intent, map_of, unstamped, user


def turns(held: list[Row], *chosen: Row) -> list[int]:
    """The turn that each choice gets where these are held."""
    rows = choices(map_of(*held), Rows.of(map(unstamped, chosen)))
    return [epoch_resume(row.epoch) for row in rows]


def test_of_two_choices_at_once_the_private_one_wins() -> None:
    """It takes the turn after the one it saw; any other takes the one it saw."""
    dnd, invisible = intent(status="dnd"), intent(status="invisible")
    assert turns([], dnd, invisible) == [0, 1]
    held = [intent(status="invisible", epoch=3 << 32)]
    assert turns(held, dnd, invisible) == [3, 4]


def test_when_a_device_goes_it_is_noted_for_its_user() -> None:
    """Once, if several go; rooms have nothing to remember."""
    topic = "default/user:alice"
    rows = [end(entry(topic=topic, session=session), written=2) for session in ("s1", "s2")]
    (record,) = records_of_last_seen(
        map_of(), [*rows, end(entry(topic=LOBBY), written=2)], WallMs(WALL + 7)
    )
    assert record.key == (topic, user("alice"), LAST_SEEN_KEY)
    assert decode_last_seen(record.value).at == WALL + 7


def test_who_is_invisible_goes_unnoticed() -> None:
    """It would tell, once the choice has ended, that somebody was there."""
    gone = [end(entry(topic="default/user:alice"), written=2)]
    assert records_of_last_seen(map_of(intent(status="invisible")), gone, WallMs(WALL)) == []
    over = intent(status="invisible", until=10)
    assert len(records_of_last_seen(map_of(over), gone, WallMs(WALL + 11))) == 1
