"""What a story does to the links of a simulated world: cuts, heals, and faults of all frames."""

from __future__ import annotations

from presence_actors.core.ids import NodeName
from presence_actors.sim.network import Faults, Network

__all__ = ["Cutting"]


class Cutting:
    """The part of a world that its network is reached by."""

    network: Network

    def cut(self, left: list[NodeName], right: list[NodeName], *, one_way: bool = False) -> None:
        """Nobody on the left hears anybody on the right, and (unless one-way) the reverse."""
        for one in left:
            for other in right:
                self.network.cut(other, one)
                if not one_way:
                    self.network.cut(one, other)

    def heal(self) -> None:
        """Everybody hears everybody."""
        self.network.heal()

    def heal_between(
        self, left: list[NodeName], right: list[NodeName], *, one_way: bool = False
    ) -> None:
        """Those on the left hear those on the right, and (unless one-way) the reverse."""
        for one in left:
            for other in right:
                self.network.join(other, one)
                if not one_way:
                    self.network.join(one, other)

    def set_faults(self, faults: Faults) -> None:
        """What may happen to frames from now on."""
        self.network.faults = faults
