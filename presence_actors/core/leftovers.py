"""What outlived who it belongs to: entries of old lives and given-up zones, and who is silent.

Found out from what a replica knows; nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from crdt import Origin, Row
from presence_actors.config import Knobs
from presence_actors.core.fanout import Attached
from presence_actors.core.ids import NodeId, ZoneId, is_newer, name_of, zone_of
from presence_actors.core.instants import Now, WallMs
from presence_actors.core.membership import HolderBook
from presence_actors.core.messages import Reach
from presence_actors.core.store import ShardStore

__all__ = ["Leftovers"]


class Leftovers:
    """What one replica sees of others that are gone or cannot be heard.

    Args:
        node: This life.
        store: What it knows.
        attached: Its gateways.
        holders: What all replicas of the shard say of their gateways.
        knobs: How long silence is.
        started: When this life began.
    """

    __slots__ = ("_attached", "_holders", "_knobs", "_node", "_origin", "_started", "_store")

    def __init__(
        self,
        node: NodeId,
        store: ShardStore,
        *,
        attached: Attached,
        holders: HolderBook,
        knobs: Knobs,
        started: WallMs,
    ) -> None:
        self._node: Final = node
        self._origin: Final = Origin(node)
        self._store: Final = store
        self._attached: Final = attached
        self._holders: Final = holders
        self._knobs: Final = knobs
        self._started: Final = started

    def of_gateway(self, gateway: NodeId) -> list[Row]:
        """Entries of a gateway that we have given up and that are ours to end."""
        rows = self._store.presence.holder_rows(gateway)
        return [row for row in rows if row.origin == self._origin]

    def has_gone_on(self, gateway: NodeId) -> bool:
        """Whether another replica hears a gateway whose entries are ours here.

        What that replica wrote of them has not come, as while our clock is so far behind that all
        its stamps are too far ahead. It is not for us to end them.
        """
        return self._holders.is_beating(gateway) and bool(self.of_gateway(gateway))

    def of_old_lives(self, now: Now, *, ready_for_ms: int) -> list[Row]:
        """Entries stamped by an old life of this worker that no gateway announced again."""
        if ready_for_ms < self._knobs.grace_gateway_ms:
            return []
        long = ready_for_ms >= self._knobs.unreachable_ms_max
        return [
            row
            for origin in self._store.origins()
            if self._is_old_life_of_ours(origin, now)
            for row in self._store.presence.origin_rows(origin)
            if self._attached.is_dead(NodeId(row.holder))
            or (long and not self._holders.is_beating(NodeId(row.holder)))
        ]

    def of_zones(self, retired: Collection[ZoneId]) -> list[Row]:
        """Entries of zones that will not come back."""
        return [
            row
            for origin in self._store.origins()
            if zone_of(origin) in retired
            for row in self._store.presence.origin_rows(origin)
        ]

    def reach(
        self, now: Now, *, ready: bool, peers: Collection[NodeId], zones: Sequence[ZoneId]
    ) -> Reach:
        """Whom this replica cannot hear."""
        knobs, after_ms = self._knobs, self._knobs.unreachable_after_ms
        holders = {
            gateway: since
            for gateway, since in self._holders.silent().items()
            if now.wall - since >= knobs.gateway_lease_ms + knobs.grace_gateway_ms
        }
        return Reach(
            ready=ready,
            origins=self._store.silent_origins(peers, now, after_ms=after_ms),
            holders=holders,
            zones=self._store.silent_zones(zones, now, after_ms=after_ms, since=self._started),
        )

    def _is_old_life_of_ours(self, origin: Origin, now: Now) -> bool:
        """Whether a life of this worker wrote it that is over, whatever its clock said."""
        if origin == self._origin or name_of(origin) != name_of(self._node):
            return False
        after_ms = self._knobs.unreachable_after_ms
        return is_newer(self._node, origin) or self._store.is_silent(origin, now, after_ms=after_ms)
