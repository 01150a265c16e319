"""The rules of renewal by origin: with all of them no history goes wrong, without one some does."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tests.model.explore import Exploration, Scope, explore, play, take, wander
from tests.model.histories import BELIEVED_AGAIN, HISTORIES, LACKING
from tests.model.parts import Rules, Spans

ALL_RULES = Rules()
RULES = [rule.name for rule in fields(Rules) if rule.name != "by_teller"]
#: The form of `count_rows` that the model began with; the code has the other one.
BY_STAMPS = replace(ALL_RULES, by_teller=False)

#: Small worlds of which every history is tried.
SCOPES = {
    "a cut past the horizon": Scope(
        workers=3, places=(0,), events=("cut", "leave"), events_max=1, rounds_max=4
    ),
    "two sides, a hop, an unheard gateway": Scope(
        events=("cut", "leave", "hop", "unheard"), rounds_max=3
    ),
    "workers and gateways restart": Scope(
        events=("cut", "leave", "restart", "crash"), rounds_max=4
    ),
    "an old life that keeps running": Scope(events=("cut", "leave", "twin", "end"), rounds_max=3),
    "a delta in parts": Scope(
        places=(0,), sessions=2, events=("cut", "leave", "part", "deliver"), rounds_max=4
    ),
    "a part from a life that nobody heard": Scope(
        places=(0, 0), sessions=2, events=("restart", "part", "crash"), events_max=4, rounds_max=1
    ),
}
#: A larger one, of which many histories are tried.
LARGE = Scope(
    workers=3,
    places=(0, 1, 2),
    sessions=3,
    events=(
        *("cut", "unheard", "leave", "hop", "hop", "crash", "attach", "restart", "twin", "end"),
        *("send", "part", "deliver", "deliver", "drop", "sleep", "wake"),
    ),
    rounds_max=30,
)


def _show(what: str, found: Exploration) -> None:
    print(f"\n{what}: {found.states} states, {found.steps} steps")  # noqa: T201
    if found.troubles:
        print(found.timeline())  # noqa: T201


@pytest.mark.parametrize("name", SCOPES)
def test_no_history_of_a_small_world_ends_badly(name: str) -> None:
    """Each one is tried, the short ones first; after it, replicas agree with the truth."""
    found = explore(SCOPES[name], ALL_RULES)
    _show(name, found)
    assert found.troubles == []
    assert found.complete
    assert found.states > 300


def test_no_history_ends_badly_if_rows_without_a_component_count_from_their_stamps() -> None:
    """The other form of `count_rows` (`Rules.by_teller`), where the two differ."""
    found = explore(SCOPES["a part from a life that nobody heard"], BY_STAMPS)
    _show("by stamps", found)
    assert found.troubles == []
    assert found.complete


@pytest.mark.parametrize("drift", [0, 1])
def test_no_history_at_random_ends_badly(drift: int) -> None:
    """Sleeping workers, twins, late and broken-off transfers, crashes, one-way links, skew."""
    found = wander(replace(LARGE, drift=drift), ALL_RULES, seed=drift, histories=150)
    _show("at random", found)
    assert found.troubles == []


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(40))
def test_no_history_of_very_many_ends_badly(seed: int) -> None:
    """The same, a thousand times for each seed."""
    found = wander(replace(LARGE, drift=seed % 2), ALL_RULES, seed=seed, histories=1000)
    _show(f"seed {seed}", found)
    assert found.troubles == []


@pytest.mark.parametrize("rule", RULES)
def test_without_a_rule_a_history_ends_badly(rule: str) -> None:
    """The same history ends well with the rule."""
    history = HISTORIES[rule]
    without = replace(ALL_RULES, **{rule: False})
    troubles = play(history.scope, without, history.steps, history.spans)
    _show(rule, Exploration(history=list(history.steps), troubles=troubles))
    assert troubles
    assert play(history.scope, ALL_RULES, history.steps, history.spans) == []


def test_a_search_finds_a_missing_rule_by_itself() -> None:
    """The histories above are kept for speed; a search of all of them needs no hint."""
    found = explore(SCOPES["a delta in parts"], replace(ALL_RULES, keep_parts=False))
    _show("keep_parts", found)
    assert "w1 has lost session 0" in found.troubles
    nobody = SCOPES["a part from a life that nobody heard"]
    found = explore(nobody, replace(ALL_RULES, count_rows=False))
    _show("count_rows", found)
    assert "w1 has a ghost of session 0" in found.troubles


def test_a_tombstone_dropped_within_the_horizon_leaves_a_ghost() -> None:
    """Who was cut off for less than the horizon is told of no end that is forgotten.

    ::

        w0  --session 0 ends--> w1          w2 is cut off
        w0, w1 drop the end
        w0  --beyond what w2 has heard: nothing--> w2
    """
    history = ["leave 0", *["round 0>1"] * 4]
    scope = Scope(workers=3, places=(0,))
    assert "w2 has a ghost of session 0" in play(
        scope, ALL_RULES, history, Spans(horizon=20, retention=1)
    )
    assert play(scope, ALL_RULES, history, Spans(horizon=20, retention=24)) == []


@pytest.mark.parametrize("name", BELIEVED_AGAIN)
def test_an_end_in_the_place_of_a_holder_that_lives_is_no_end(name: str) -> None:
    """It is taken back when the old life is heard; what that held within the horizon may be told.

    A check that wanted the home to stand behind the row in the very moment in which it comes
    found these at random, in 5 of 40 seeds.
    """
    history = BELIEVED_AGAIN[name]
    assert play(history.scope, ALL_RULES, history.steps) == []


@pytest.mark.parametrize("ago", [0, 3, 4, None])
def test_what_has_ended_is_not_back_unless_its_home_stood_behind_it(ago: int | None) -> None:
    """Not longer ago than the horizon, which is 3 ticks, and after the end was written."""
    world = LARGE.begin(ALL_RULES)
    replica = world.replicas[1]
    row = replica.rows[0]
    for step in ("leave 0", *["round all"] * 8):
        assert take(world, step)
    assert 0 not in replica.rows
    replica.rows[0] = row
    if ago is not None:
        replica.ends[0] = (*row[:2], row.stamp + 1)
        world.stood[0, row] = world.now - ago
    assert take(world, "round ")
    back = [] if ago in {0, 3} else ["session 0, which has ended, is back at w1"]
    assert world.broken == back


def test_a_session_at_an_old_life_may_be_missing_where_only_its_false_end_was_heard() -> None:
    """What is not promised while two lives of one worker run; when the old one ends, it is over."""
    world = LACKING.scope.begin(ALL_RULES)
    for step in LACKING.steps:
        assert take(world, step)
    has = {replica.life: 2 in replica.rows and replica.rows[2].live for replica in world.replicas}
    assert has == {(0, 1): True, (1, 1): False, (2, 1): True, (2, 2): False}
    assert play(LACKING.scope, ALL_RULES, LACKING.steps) == []
