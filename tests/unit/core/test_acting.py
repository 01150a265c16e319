"""Acts: what goes to the replica, and when the answer comes."""

from __future__ import annotations

import pytest

from presence_actors.core.acts import Act, Choose, Kick, Publish, Withdraw, carried_session
from presence_actors.core.dismissals import is_dismissal
from presence_actors.core.effects import Acted, GatewayEffect
from presence_actors.core.events import ActRequested
from presence_actors.core.ids import Namespace, RequestId, SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.limits import ACTS_WAITING_MAX, CARRIED_PER_USER_MAX, RESUME_MAX
from presence_actors.core.values import LeaveReason, decode_end, decode_entry, decode_intent
from presence_actors.core.vocabulary import ErrorCode, Intent
from tests.unit.core.building import LOBBY, WALL
from tests.unit.core.gateway_stage import KNOBS, Stage

ALICE = UserId("alice")
DOOR = carried_session("door")
OWN_DOOR = ("default/user:alice", "alice", DOOR)
LOBBY_DOOR = (LOBBY, "alice", DOOR)


def asks(stage: Stage, act: Act, *, request: int = 1) -> list[GatewayEffect]:
    """Somebody wants this done."""
    return stage.happens(ActRequested(RequestId(request), Namespace("default"), act))


def acted(effects: list[GatewayEffect]) -> list[Acted]:
    """The answers among the effects."""
    return [effect for effect in effects if isinstance(effect, Acted)]


def posts(*, meta: object = 1, session: SessionId = DOOR, lease_ms: int = 60_000) -> Publish:
    """A post of alice's door, in the lobby."""
    rooms: dict[str, dict[str, object]] = {"room:lobby": {"a": meta}}
    return Publish(ALICE, session, "online", "door", rooms, lease_ms)


def refusal(effects: list[GatewayEffect]) -> ErrorCode:
    """With which code the one act was refused."""
    (answer,) = acted(effects)
    assert answer.refusal is not None
    return answer.refusal.code


def test_a_choice_is_answered_when_a_replica_has_it() -> None:
    """Not earlier: `ok` means that it survives this gateway."""
    stage = Stage()
    assert acted(asks(stage, Choose(ALICE, Intent(status="dnd")))) == []
    assert acted(stage.ticks()) == [Acted(RequestId(1), WallMs(WALL + stage.at - 30))]
    (row,) = stage.replica.chosen
    assert (row.key, decode_intent(row.value).status) == (
        ("default/user:alice", "alice", "intent"),
        "dnd",
    )


def test_a_kick_becomes_a_dismissal_and_ends_the_session_when_it_comes_back() -> None:
    """The gateway that was asked obeys like any other; it closes with a code that is final."""
    stage = Stage()
    stage.enters()
    asks(stage, Kick(ALICE, text="enough"))
    effects = stage.ticks()
    assert [answer.refusal for answer in acted(effects)] == [None]
    (dismissal,) = [row for row in stage.replica.rows.values() if is_dismissal(row)]
    assert not dismissal.live
    effects += stage.ticks()
    own = stage.replica.heard["default/user:alice", "alice", "s1"]
    assert decode_end(own.value).reason == LeaveReason.KICKED
    told = [effect for effect in effects if not isinstance(effect, Acted)]
    assert [type(effect).__name__ for effect in told][-2:] == ["Deliver", "CloseClient"]
    assert stage.machine.inspect().sessions == 0


def test_a_kick_means_what_is_seen_even_if_a_faster_clock_began_it() -> None:
    """The session of another gateway whose clock is ahead began in our future."""
    stage = Stage()
    stage.enters("bob")
    asks(stage, posts())
    stage.ticks()
    row = stage.replica.rows[OWN_DOOR]
    ahead = decode_entry(row.value)
    machine_wall = WALL + stage.at
    assert ahead.since <= machine_wall
    asks(stage, Kick(ALICE), request=2)
    (answer,) = acted(stage.ticks())
    assert answer.at is not None
    assert answer.at >= ahead.since


def test_a_post_is_answered_when_each_replica_has_its_entries() -> None:
    """In the user's own topic and in the room; the answer says since when the device is here."""
    stage = Stage()
    assert acted(asks(stage, posts())) == []
    (answer,) = acted(stage.ticks())
    assert answer.refusal is None
    for key in (OWN_DOOR, LOBBY_DOOR):
        entry = decode_entry(stage.replica.rows[key].value)
        assert (entry.device, entry.since) == ("door", answer.at)


def test_a_post_that_changes_nothing_costs_nothing() -> None:
    """It is answered in the same turn, and nothing is written."""
    stage = Stage()
    asks(stage, posts())
    stage.ticks()
    written = len(stage.replica.written)
    (answer,) = acted(asks(stage, posts(), request=2))
    assert answer.refusal is None
    stage.ticks()
    assert len(stage.replica.written) == written


def test_a_post_that_is_said_again_before_it_was_acknowledged_waits_as_well() -> None:
    """Else the second would be answered with what no replica has yet."""
    stage = Stage()
    asks(stage, posts())
    stage.passes(stage.knobs.flush_ms)
    stage.replica.is_there = False
    asks(stage, posts(meta=2), request=2)
    assert acted(asks(stage, posts(meta=2), request=3)) == []
    assert acted(stage.passes(stage.knobs.resend_ms)) == []


def test_no_post_begins_where_it_is_not_known_who_is_there() -> None:
    """It might be kicked, or be here already: that is refused, and has not happened."""
    stage = Stage(ready=False)
    assert acted(asks(stage, posts())) == []
    assert refusal(stage.passes(KNOBS.snapshot_wait_ms)) is ErrorCode.UNAVAILABLE
    assert OWN_DOOR not in stage.replica.rows


def test_a_lease_that_is_not_renewed_ends_the_session() -> None:
    """With the reason that people know from lost connections, and without a further grace."""
    stage = Stage()
    asks(stage, posts(lease_ms=5_000))
    stage.ticks()
    stage.passes(4_000)
    asks(stage, posts(lease_ms=5_000), request=2)
    stage.passes(4_900)
    assert stage.replica.rows[OWN_DOOR].live
    stage.passes(300)
    for key in (OWN_DOOR, LOBBY_DOOR):
        assert decode_end(stage.replica.rows[key].value).reason == LeaveReason.TIMEOUT


def test_a_device_that_withdraws_is_gone_at_once() -> None:
    """And once more is nothing to do."""
    stage = Stage()
    asks(stage, posts())
    stage.ticks()
    asks(stage, Withdraw(ALICE, DOOR), request=2)
    assert [answer.refusal for answer in acted(stage.ticks())] == [None]
    for key in (OWN_DOOR, LOBBY_DOOR):
        assert decode_end(stage.replica.rows[key].value).reason == LeaveReason.LEFT
    written = len(stage.replica.written)
    effects = asks(stage, Withdraw(ALICE, DOOR), request=3)
    assert [answer.refusal for answer in acted(effects + stage.ticks())] == [None]
    assert len(stage.replica.written) == written


def test_devices_of_one_user_have_a_limit() -> None:
    """Beyond it the next one is refused; those that are here go on."""
    stage = Stage()
    for number in range(CARRIED_PER_USER_MAX):
        asks(stage, posts(session=carried_session(str(number))), request=number)
        stage.ticks()
    effects = asks(stage, posts(session=carried_session("more")), request=777)
    assert refusal(effects + stage.ticks()) is ErrorCode.TOO_MANY
    (answer,) = acted(asks(stage, posts(session=carried_session("0")), request=778))
    assert answer.refusal is None


@pytest.mark.parametrize("act", [Kick(ALICE), Choose(ALICE, Intent(status="dnd"))])
def test_acts_that_wait_for_a_replica_have_a_limit(act: Act) -> None:
    """A gateway that is cut off does not gather acts without end."""
    stage = Stage()
    for replica in stage.replicas.values():
        replica.is_there = False
    for number in range(ACTS_WAITING_MAX):
        asks(stage, act, request=number)
    assert refusal(asks(stage, act, request=ACTS_WAITING_MAX)) is ErrorCode.UNAVAILABLE


def test_a_connection_takes_over_a_session_that_posts_carried() -> None:
    """A client may name any session of its user; the lease must not end it under the connection."""
    stage = Stage()
    asks(stage, posts(lease_ms=5_000))
    stage.ticks()
    connection = stage.enters(session=DOOR, resume=RESUME_MAX)
    assert refusal(asks(stage, posts(), request=2)) is ErrorCode.FORBIDDEN
    stage.passes(6_000)
    assert stage.replica.rows[OWN_DOOR].live
    stage.loses(connection)
    (answer,) = acted(asks(stage, posts(), request=3) + stage.ticks())
    assert answer.refusal is None
    stage.passes(KNOBS.grace_connection_ms + 1_000)
    assert stage.replica.rows[OWN_DOOR].live
