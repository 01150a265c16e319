"""Names of things."""

from __future__ import annotations

from presence_actors.core.ids import (
    NodeName,
    incarnation_of,
    is_newer,
    mint_node_id,
    name_of,
    short_name,
    user_topic,
    zone_of,
)


def test_a_later_life_compares_greater() -> None:
    """The incarnation begins with the time of the start, whatever chance says."""
    first = mint_node_id(NodeName("a/w0"), start_wall_ms=1_000, random_64=(1 << 64) - 1)
    second = mint_node_id(NodeName("a/w0"), start_wall_ms=1_001, random_64=0)
    assert is_newer(second, first)
    assert not is_newer(first, second)
    assert not is_newer(first, first)


def test_two_lives_of_one_millisecond_differ() -> None:
    """Chance tells them apart."""
    name = NodeName("a/w0")
    assert mint_node_id(name, start_wall_ms=1, random_64=1) != mint_node_id(
        name, start_wall_ms=1, random_64=2
    )


def test_lives_of_two_places_are_never_newer_than_each_other() -> None:
    """Only lives of one place are compared."""
    assert not is_newer("a/w1/ff", "a/w0/00")


def test_a_node_id_has_a_zone_a_place_and_a_life() -> None:
    """All three can be read off it."""
    node = mint_node_id(NodeName("a/w0"), start_wall_ms=1, random_64=2)
    assert (zone_of(node), name_of(node)) == ("a", "a/w0")
    assert len(incarnation_of(node)) == 28
    assert short_name(node) == "a/w0#00000000"


def test_tenants_never_share_a_users_topic() -> None:
    """The namespace is part of the topic."""
    assert user_topic("one", "alice") != user_topic("two", "alice")
