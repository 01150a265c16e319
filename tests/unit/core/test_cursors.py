"""Cursors: good at any gateway, and only ever a hint."""

from __future__ import annotations

import base64

import msgspec
import pytest

from crdt import Origin, Stamp, VersionVector
from crdt.hlc import pack_stamp
from presence_actors.core.cursors import (
    is_stale,
    mark_of,
    mark_of_range,
    read_cursor,
    read_mark,
    without_dead,
    write_cursor,
)
from presence_actors.core.ids import NodeName, ShardId, mint_node_id
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import KeyRange

SEEN = {
    ShardId(7): VersionVector({Origin("a/w1/01"): Stamp(9)}),
    ShardId(3): VersionVector({Origin("a/w0/01"): Stamp(5), Origin("a/w1/01"): Stamp(6)}),
}


def spelt(plain: object) -> str:
    """Any value in the spelling of a cursor."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(plain)).rstrip(b"=").decode()


def test_a_cursor_says_of_each_shard_what_was_seen() -> None:
    """What is written is read again."""
    assert read_cursor(write_cursor(SEEN)) == SEEN


def test_equal_knowledge_has_equal_cursors() -> None:
    """The order in which shards were put together does not show."""
    assert write_cursor(SEEN) == write_cursor(dict(reversed(SEEN.items())))


def test_a_cursor_goes_into_a_url_as_it_is() -> None:
    """Letters, digits, minus and underscore."""
    cursor = write_cursor(SEEN)
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_no_cursor_means_that_nothing_was_seen() -> None:
    """A new subscriber has none."""
    assert read_cursor(None) == {}


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "a",
        "kein cursor",
        "\N{SNOWMAN}",
        spelt([1, 2]),
        spelt({"3": {"a/w0/01": 5}}),
        spelt({3: {"a/w0/01": -5}}),
        spelt({3: {"a/w0/01": 1.5}}),
        spelt({3: {"a" * 64 * 1024: 5}}),
    ],
)
def test_a_cursor_that_cannot_be_read_means_that_nothing_was_seen(cursor: str) -> None:
    """Its client gets a snapshot, not an error: the cursor may be that of another version."""
    assert read_cursor(cursor) == {}


def test_a_mark_goes_with_a_cursor_and_changes_nothing_of_it() -> None:
    """Who reads only the vectors need not know of it."""
    cursor = write_cursor(SEEN, mark="c0ffee")
    assert read_cursor(cursor) == read_cursor(write_cursor(SEEN)) == SEEN
    assert read_mark(cursor) == "c0ffee"
    assert read_mark(write_cursor(SEEN)) == read_mark(None) == ""


def test_a_cursor_of_a_part_of_a_room_is_good_for_that_part_alone() -> None:
    """One of the whole room is good for every part; so is one of a poll, whose mark differs."""
    part, other = KeyRange(start="a", end="m"), KeyRange(start="m")
    cursor = write_cursor(SEEN, mark=mark_of_range(part))
    assert read_cursor(cursor, part) == SEEN
    assert read_cursor(cursor, other) == read_cursor(cursor) == {}
    for whole in (write_cursor(SEEN), write_cursor(SEEN, mark=mark_of(part))):
        assert read_cursor(whole, part) == read_cursor(whole) == SEEN


def life(name: str, started: int) -> Origin:
    """A life of a worker that started then."""
    return Origin(mint_node_id(NodeName(name), start_wall_ms=started, random_64=1))


def seen(**heard: int) -> VersionVector:
    """A vector of workers that started at 0, by when each was heard last."""
    return VersionVector(
        {life(f"a/{name}", 0): pack_stamp(wall, 0) for name, wall in heard.items()}
    )


def stale(cursor: VersionVector, ours: VersionVector) -> bool:
    """Whether it is at 10 000, with a horizon of 1 000."""
    return is_stale(cursor, ours, wall=WallMs(10_000), horizon_ms=1_000)


def test_a_cursor_is_too_old_if_it_lacks_what_was_written_before_the_horizon() -> None:
    """Ends are kept for longer than the horizon, so all that is lacked since can be told."""
    assert not stale(seen(w0=9_001), seen(w0=9_990))
    assert stale(seen(w0=9_000), seen(w0=9_990))


def test_a_cursor_that_has_seen_all_is_good_however_old_that_is() -> None:
    """A worker that nobody has heard since wrote nothing that it lacks."""
    assert not stale(seen(w0=9_990, w1=50), seen(w0=9_995, w1=50))
    assert not stale(VersionVector(), seen(w0=9_995))


def test_of_a_worker_that_has_just_started_no_cursor_lacks_anything_old() -> None:
    """But one that never heard of an old worker may know what that one has ended."""
    ours = seen(w0=9_990)
    young = ours.merge(VersionVector({life("a/w1", 9_500): pack_stamp(9_990, 0)}))
    old = ours.merge(VersionVector({life("a/w1", 100): pack_stamp(9_990, 0)}))
    assert not stale(seen(w0=9_980), young)
    assert stale(seen(w0=9_980), old)


def test_a_cursor_that_knows_a_life_which_was_forgotten_here_is_too_old() -> None:
    """The rows of that life went without an end. A worker that was never heard here is no such."""
    ours = VersionVector({life("a/w1", 9_000): pack_stamp(9_990, 0)})
    dead = VersionVector({life("a/w1", 100): pack_stamp(9_980, 0)})
    strange = VersionVector({life("a/w2", 100): pack_stamp(9_980, 0)})
    assert stale(ours.merge(dead), ours)
    assert not stale(ours.merge(strange), ours)
    assert without_dead(dead.merge(strange), ours) == strange


def test_a_cursor_from_a_zone_that_was_never_heard_of_is_stale() -> None:
    """It would be waited for in vain; of a zone that is known a new worker may just have begun."""
    ours = VersionVector({Origin("a/w0/01"): pack_stamp(9_900, 0)})
    for name, verdict in (("b/w0/01", True), ("a/w1/01", False)):
        cursor = ours.with_component(Origin(name), pack_stamp(9_950, 0))
        assert is_stale(cursor, ours, wall=WallMs(10_000), horizon_ms=1_000) is verdict


def test_a_life_that_is_newer_than_all_we_know_is_not_forgotten_but_yet_to_be_heard_of() -> None:
    """The old life may run on beside it, and only some may hear the new one (seed 2759)."""
    ours = VersionVector({life("a/w0", 100): pack_stamp(9_990, 0)})
    newer = ours.merge(VersionVector({life("a/w0", 9_900): pack_stamp(9_980, 0)}))
    assert without_dead(newer, ours) == newer
    assert not stale(newer, ours)


def test_an_origin_from_before_the_horizon_that_is_not_known_here_is_waited_for_in_vain() -> None:
    """Whatever became of it, nobody will tell us of it any more."""
    ours = VersionVector({life("a/w0", 100): pack_stamp(9_990, 0)})
    limit = 10_000 - 1_000
    for wall, verdict in ((limit, True), (limit + 1, False)):
        cursor = ours.with_component(life("a/w1", 100), pack_stamp(wall, 0))
        assert is_stale(cursor, ours, wall=WallMs(10_000), horizon_ms=1_000) is verdict
