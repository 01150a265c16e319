"""Phoenix clients in the simulated world: dialogs, and what the stock client would make of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import count
from typing import Any, Final

from presence_actors.config import ClusterConfig
from presence_actors.core.effects import CloseClient, Deliver, GatewayEffect
from presence_actors.core.events import ClientDisconnected, ClientSent, GuestConnected
from presence_actors.core.ids import ConnectionId, Namespace, NodeName, UserId
from presence_actors.core.instants import Instant
from presence_actors.core.vocabulary import Identity
from presence_actors.sim.process import Process
from presence_actors.sim.world import World
from presence_actors.wire.phoenix import PhoenixDialog
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.turns import Turn
from tests.simulation.short_knobs import KNOBS
from tests.simulation.steering import ROOM, G

__all__ = ["Guest", "GuestWorld"]

_NAMESPACE: Final = Namespace("default")
#: What a stock client waits for its first attempts.
_BACK_MS: Final = 50

Metas = list[dict[str, Any]]


class GuestWorld(World):
    """A world that guests may enter, too."""

    def __init__(self, *, workers: int = 2, gateways: int = 2, seed: int = 1) -> None:
        super().__init__(
            ClusterConfig(
                workers=workers, gateways=gateways, shards=4, replicas=workers, knobs=KNOBS
            ),
            seed=seed,
        )
        self.guests: dict[ConnectionId, Guest] = {}
        self.rooms: dict[NodeName, Rooms] = {}
        self._guest_connections = count(1_000_000)
        self.run(600)

    def enter(self, guest: Guest, gateway: NodeName) -> tuple[Process, ConnectionId]:
        """A guest has a connection."""
        connection = ConnectionId(next(self._guest_connections))
        self.guests[connection] = guest
        return self.processes[gateway], connection

    def kill(self, name: NodeName, *, restart_after_ms: int | None) -> None:
        """The guests of a gateway lose their connections with it."""
        super().kill(name, restart_after_ms=restart_after_ms)
        self.rooms.pop(name, None)
        for guest in [guest for guest in self.guests.values() if guest.gateway == name]:
            guest.lost(come_back=True)

    def _carry_out(self, process: Process, effect: GatewayEffect) -> None:
        match effect:
            case Deliver(connections=connections, message=message):
                for connection in connections:
                    guest = self.guests.get(connection)
                    if guest is not None:
                        guest.converse(guest.dialog.hear(message))
            case CloseClient(connection=connection) if connection in self.guests:
                self.guests[connection].closed.append(effect.code)
                self.guests[connection].lost(come_back=True)
                return
            case _:
                pass
        super()._carry_out(process, effect)


class Guest:
    """One tab with a stock Phoenix client: comes back by itself, and remembers what it saw.

    Args:
        world: Where it lives.
        name: Of its user.
        gateways: Where it connects, in the order in which it tries.
        meta: What it shows.
        rooms: Where.
        params: Of its socket.
    """

    def __init__(  # what a tab is
        self,
        world: GuestWorld,
        name: str,
        gateways: list[int],
        *,
        meta: dict[str, object] | None = None,
        rooms: Iterable[str] = (ROOM,),
        **params: str,
    ) -> None:
        self._world = world
        self.name = name
        self.gateways = [G[index] for index in gateways]
        self.meta = meta if meta is not None else {"from": name}
        self.channels = list(rooms)
        self._params = params
        self.back_ms = _BACK_MS
        self.gateway: NodeName | None = None
        #: How its gateway knows it.
        self.connection = ConnectionId(0)
        self.closed: list[int] = []
        #: Channels that were closed for good: a stock client never joins them again by itself.
        self.closed_channels: list[str] = []
        #: What its handlers were told: (room, "join" or "leave" or "sync", key, meta).
        self.heard: list[tuple[str, str, str, Any]] = []
        self.state: dict[str, dict[str, Metas]] = {}
        self._refs = count(1)
        self.frozen = False
        #: What reached the tab while it read nothing, in order.
        self.asleep: list[bytes] = []
        self.connect()

    def connect(self) -> None:
        """Connect to the first gateway that lives, and join."""
        gateway = next(name for name in self.gateways if self._world.processes[name].alive)
        self.gateway = gateway
        self._process, self.connection = self._world.enter(self, gateway)
        self.dialog = PhoenixDialog(
            version=Version.V2,
            namespace=_NAMESPACE,
            params=self._params,
            rooms=self._world.rooms.setdefault(gateway, Rooms()),
        )
        for room in self.channels:
            self.say(room, "phx_join", {"meta": self.meta})

    def say(self, room: str, event: str, payload: object) -> None:
        """One frame."""
        ref = str(next(self._refs))
        join_ref = ref if event == "phx_join" else None
        self.converse(self.dialog.receive(json.dumps([join_ref, ref, room, event, payload])))

    def converse(self, turn: Turn) -> None:
        """What the driver does with a turn."""
        self.asleep.extend(turn.frames)
        if not self.frozen:
            self.thaw()
        world, identity = self._world, Identity(_NAMESPACE, UserId(self.name))
        if turn.introduction is not None:
            word = turn.introduction
            event = GuestConnected(
                self.connection, identity, word.family, word.device, word.topic, word.meta
            )
            world._post(self._process, event)
        for message in turn.messages:
            sent = ClientSent(self.connection, message)
            # As a driver does from within `carry_out`: when the effects at hand are done.
            world.at(world.instant, lambda sent=sent: world._post(self._process, sent))  # type: ignore[misc]

    def freeze(self) -> None:
        """The tab reads nothing: what comes in waits."""
        self.frozen = True

    def thaw(self) -> None:
        """It reads all that waits, and reads on."""
        self.frozen = False
        waiting, self.asleep = self.asleep, []
        for frame in waiting:
            _, _, room, event, payload = json.loads(frame)
            self._take(room, event, payload)

    def lost(self, *, come_back: bool, goodbye: bool = False) -> None:
        """The connection is gone."""
        if self.gateway is None:
            return
        self.gateway = None
        # What had reached the socket of the tab is gone with it.
        self.frozen, self.asleep = False, []
        self.dialog.closed()
        del self._world.guests[self.connection]
        self._world._post(self._process, ClientDisconnected(self.connection, goodbye))
        if come_back:
            self._world.at(Instant(self._world.instant + self.back_ms), self.connect)

    def _take(self, room: str, event: str, payload: Any) -> None:
        if event == "presence_state":
            self._sync_state(room, {key: found["metas"] for key, found in payload.items()})
        elif event == "presence_diff":
            sides = [
                {key: found["metas"] for key, found in payload[side].items()}
                for side in ("joins", "leaves")
            ]
            self._sync_diff(room, *sides)
        elif event == "phx_close":
            self.channels.remove(room)
            self.closed_channels.append(room)
        elif event == "phx_reply":
            assert payload["status"] == "ok", payload

    def _sync_state(self, room: str, new: dict[str, Metas]) -> None:
        held = self.state.setdefault(room, {})
        self._sync_diff(room, _beyond(new, held), _beyond(held, new))

    def _sync_diff(self, room: str, joins: dict[str, Metas], leaves: dict[str, Metas]) -> None:
        held = self.state.setdefault(room, {})
        for key, metas in joins.items():
            held.setdefault(key, []).extend(metas)
            self.heard.extend((room, "join", key, meta) for meta in metas)
        for key, metas in leaves.items():
            gone = {meta["phx_ref"] for meta in metas}
            held[key] = [meta for meta in held.get(key, []) if meta["phx_ref"] not in gone]
            self.heard.extend((room, "leave", key, meta) for meta in metas)
            if not held[key]:
                del held[key]
        self.heard.append((room, "sync", "", None))

    def there(self, room: str = ROOM) -> dict[str, int]:
        """How many metas each key has."""
        return {key: len(metas) for key, metas in sorted(self.state.get(room, {}).items())}

    def news(self, since: int = 0) -> list[tuple[str, str, Any]]:
        """The joins and leaves that were told since so many items: what, whose, and which meta."""
        return [
            (kind, key, meta.get("from"))
            for _, kind, key, meta in self.heard[since:]
            if kind != "sync"
        ]


def _beyond(these: dict[str, Metas], those: dict[str, Metas]) -> dict[str, Metas]:
    """The metas that only the first have, by their refs."""
    found: dict[str, Metas] = {}
    for key, metas in these.items():
        known = {meta["phx_ref"] for meta in those.get(key, [])}
        missing = [meta for meta in metas if meta["phx_ref"] not in known]
        if missing:
            found[key] = missing
    return found
