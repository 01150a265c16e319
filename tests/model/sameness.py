"""When two worlds of the model are one: if they differ in age only, they have the same future."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Final

from tests.model.parts import TICK, Message, Replica, Row
from tests.model.world import World

__all__ = ["canonical"]

_AGED: Final = -10_000


def canonical(world: World) -> Hashable:
    """A value that is equal for worlds with the same future."""
    zero = world.now * TICK
    oldest = zero - (world.spans.retention + 2) * TICK
    found = {row.stamp for _, row in world.stood}
    found.update(stamp for replica in world.replicas for stamp in _stamps(replica))
    found.update(stamp for message in world.wire for stamp in _stamps_on_wire(message))
    old_ones = sorted((stamp for stamp in found if stamp < oldest), reverse=True)
    ranks = {stamp: rank for rank, stamp in enumerate(old_ones)}

    def age(stamp: int) -> int:
        return _AGED - ranks[stamp] if stamp < oldest else stamp - zero

    def old(tick: int, limit: int) -> int:
        return min(world.now - tick, limit)

    horizon, unreachable = world.spans.horizon, world.spans.unreachable_max + 2
    return (
        tuple(
            (
                replica.life,
                tuple(
                    (k, r.resume, r.move, age(r.stamp), r.origin, r.live, r.holder)
                    for k, r in sorted(replica.rows.items())
                ),
                tuple((o, age(s)) for o, s in sorted(replica.vector.items())),
                tuple((o, old(t, horizon)) for o, t in sorted(replica.heard.items())),
                tuple((o, old(t, horizon)) for o, t in sorted(replica.bare.items())),
                tuple((g, old(t, unreachable)) for g, t in sorted(replica.attached.items())),
                tuple((g, old(t, unreachable)) for g, t in sorted(replica.beats.items())),
                tuple(sorted((w, age(r.stamp)) for w, r in replica.came.items())),
                max(replica.clock - zero, -TICK),
                old(replica.since, unreachable),
                replica.asleep,
                tuple((k, *end[:2], age(end[2])) for k, end in sorted(replica.ends.items())),
                tuple(sorted(k for k, r in replica.shown.items() if replica.rows.get(k) == r)),
            )
            for replica in world.replicas
        ),
        _gateways(world, old),
        tuple(sorted(world.clients.items())),
        tuple(sorted(world.attempts.items())),
        tuple(
            (
                m.sender,
                m.receiver,
                m.transfer,
                old(m.sent, horizon),
                tuple((o, age(s)) for o, s in sorted(m.base.items())),
                tuple((o, age(s)) for o, s in sorted(m.new.items())),
                m.keys,
                tuple((r.resume, r.move, age(r.stamp), r.origin, r.live) for r in m.rows),
            )
            for m in world.wire
        ),
        tuple(
            sorted(
                (k, r.resume, r.move, age(r.stamp), r.origin, old(tick, world.spans.retention + 3))
                for (k, r), tick in world.stood.items()
            )
        ),
        tuple(world.broken),
    )


def _gateways(world: World, old: Callable[[int, int], int]) -> Hashable:
    """What gateways hold, and since when they miss somebody, up to where it makes no difference."""
    return tuple(
        (
            g.life,
            g.home,
            g.attachment,
            tuple(sorted(g.holds.items())),
            tuple(sorted(g.ended.items())),
            tuple((k, old(t, world.spans.client_lease)) for k, t in sorted(g.lost.items())),
        )
        for g in world.gateways
    )


def _stamps(replica: Replica) -> Iterator[int]:
    rows: list[Row] = [*replica.rows.values(), *replica.came.values()]
    yield from (row.stamp for row in rows)
    yield from replica.vector.values()
    yield from (stamp for _, _, stamp in replica.ends.values())


def _stamps_on_wire(message: Message) -> Iterator[int]:
    yield from (row.stamp for row in message.rows)
    yield from message.base.values()
    yield from message.new.values()
