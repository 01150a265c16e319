"""A model of one shard: lives of workers and gateways, sessions, and what is kept for how long.

It says in a few lines of dicts what the replicas, the map and the gateways of the project do in
thousands, and shares no code with them. Time goes in rounds, and what two replicas say to each
other in a round happens at once; what comes late or in parts is an event of its own (`World.wire`).

Each rule can be switched off (`Rules`). A world that is left in peace must settle: `troubles`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.model.parts import (
    LONG_AGO,
    NOTHING,
    TICK,
    Gateway,
    Life,
    Message,
    Replica,
    Row,
    Rules,
    Spans,
    Vector,
)


@dataclass(slots=True)
class World:
    """All of it. ``rules`` and ``spans`` never change."""

    rules: Rules
    spans: Spans
    now: int = 10
    replicas: list[Replica] = field(default_factory=list)
    gateways: list[Gateway] = field(default_factory=list)
    #: {session: (resume, the gateway where its client is)}: the truth.
    clients: dict[int, tuple[int, Life | None]] = field(default_factory=dict)
    #: {(session, resume): the gateway where the client made this attempt}.
    attempts: dict[tuple[int, int], Life] = field(default_factory=dict)
    wire: list[Message] = field(default_factory=list)
    transfers: int = 0
    #: {(session, version): the tick when its home stood behind it last}.
    stood: dict[tuple[int, Row], int] = field(default_factory=dict)
    #: What went wrong on the way and cannot be seen later.
    broken: list[str] = field(default_factory=list)

    def clone(self) -> World:
        """A copy that changes alone."""
        return World(
            self.rules,
            self.spans,
            self.now,
            [replica.clone() for replica in self.replicas],
            [gateway.clone() for gateway in self.gateways],
            dict(self.clients),
            dict(self.attempts),
            list(self.wire),
            self.transfers,
            dict(self.stood),
            list(self.broken),
        )

    def start(self, name: int, life: int, *, skew: int = 0) -> Replica:
        """A worker's life begins, and knows nothing."""
        origin = (name, life if self.rules.fresh_origin else 0)
        replica = Replica((name, life), origin, self.now, skew=skew)
        self.replicas.append(replica)
        return replica

    def replica(self, life: Life) -> Replica | None:
        """The life of a worker, if it runs."""
        return next((replica for replica in self.replicas if replica.life == life), None)

    def newest(self, name: int) -> Replica | None:
        """The newest life of a worker that runs."""
        lives = [replica for replica in self.replicas if replica.life[0] == name]
        return max(lives, key=lambda replica: replica.life, default=None)

    def gateway(self, name: int) -> Gateway:
        """The life of a gateway that runs."""
        return next(gateway for gateway in self.gateways if gateway.life[0] == name)

    # What a replica knows.

    def _wall(self, replica: Replica) -> int:
        return self.now + replica.skew

    def _is_beyond(self, replica: Replica, origin: Life) -> bool:
        if origin == replica.origin:
            return False
        heard = replica.heard.get(origin, LONG_AGO)
        if self.rules.count_rows and origin not in replica.vector:
            if self.rules.by_teller:
                bare = replica.bare.get(origin)
                if bare is None or self.now - bare < self.spans.horizon:
                    return False
                return any(row.live and row.origin == origin for row in replica.rows.values())
            stamps = [row.stamp for row in replica.rows.values() if row.origin == origin]
            heard = max(stamps, default=LONG_AGO * TICK) // TICK - replica.skew
        return self.now - heard >= self.spans.horizon

    def believed(self, replica: Replica) -> Vector:
        """What counts of the vector of a replica."""
        return {
            origin: stamp
            for origin, stamp in replica.vector.items()
            if not self._is_beyond(replica, origin)
        }

    def _stamp(self, replica: Replica) -> int:
        replica.clock = max(replica.clock + 1, self._wall(replica) * TICK)
        return replica.clock

    def _write(
        self, replica: Replica, key: int, epoch: tuple[int, int], holder: Life, *, live: bool
    ) -> None:
        row = Row(*epoch, self._stamp(replica), replica.origin, live, holder)
        held = replica.rows.get(key)
        if held is None or row[:4] > held[:4]:
            replica.rows[key] = row
        replica.vector[replica.origin] = max(row.stamp, replica.vector.get(replica.origin, 0))
        replica.heard[replica.origin] = self.now

    def _end(self, replica: Replica, key: int) -> None:
        """In the holder's place."""
        row = replica.rows[key]
        epoch = (row.resume + (not self.rules.same_epoch), row.move)
        self._write(replica, key, epoch, row.holder, live=False)

    # Between replicas.

    def delta(self, sender: Replica, receiver: Replica) -> Message:
        """What the receiver lacks of what the sender may speak for."""
        rules = self.rules
        base = self.believed(receiver) if rules.replace else dict(receiver.vector)
        new = self.believed(sender) if rules.be_silent else dict(sender.vector)
        keys = [
            key
            for key, row in sorted(sender.rows.items())
            if row.stamp > base.get(row.origin, 0) and self._speaks_for(sender, row, new)
        ]
        rows = tuple(sender.rows[key] for key in keys)
        return Message(
            sender.life,
            receiver.life,
            base,
            new,
            rows,
            tuple(keys),
            sender.clock,
            dict(sender.beats),
        )

    def _speaks_for(self, sender: Replica, row: Row, new: Vector) -> bool:
        if row.origin in sender.vector or not self.rules.count_rows:
            return row.origin in new
        return self._is_beyond(sender, row.origin) is False or not self.rules.be_silent

    def receive(self, receiver: Replica, message: Message) -> bool:
        """Take in a delta; whether it was accepted."""
        rules = self.rules
        if message.clock // TICK > self._wall(receiver) + self.spans.drift:
            return False
        if any(stamp > receiver.vector.get(origin, 0) for origin, stamp in message.base.items()):
            return False
        receiver.clock = max(receiver.clock, message.clock)
        for gateway, tick in message.beats.items():
            receiver.beats[gateway] = max(tick, receiver.beats.get(gateway, tick))
        message = self._without_the_dead(receiver, message)
        self._take_rows(receiver, message)
        if not message.is_part or not rules.vector_last:
            self._advance(receiver, message.new)
        self._note_bare(receiver, message.new)
        for one in [one for one in receiver.came if one[0] == message.sender]:
            if not message.is_part and (rules.by_transfer or one[1] == message.transfer):
                del receiver.came[one]
        return True

    def _take_rows(self, receiver: Replica, message: Message) -> None:
        rules = self.rules
        whole = self._replaced(receiver, message)
        seen = {o: s for o, s in receiver.vector.items() if o not in whole}
        if not rules.skip_covered:
            seen = {}
        came = self._came(receiver, message)
        for key, row in list(receiver.rows.items()):
            if row.origin not in whole or key in came:
                continue
            if row.stamp <= message.new[row.origin] or not rules.spare_above:
                del receiver.rows[key]
        for key, row in zip(message.keys, message.rows, strict=True):
            held = receiver.rows.get(key)
            if row.stamp > seen.get(row.origin, 0) and (held is None or row[:4] > held[:4]):
                receiver.rows[key] = row
            if message.is_part:
                receiver.came[message.sender, message.transfer, key] = row

    def _advance(self, receiver: Replica, new: Vector) -> None:
        for origin, stamp in new.items():
            if stamp > receiver.vector.get(origin, 0):
                receiver.vector[origin] = stamp
                heard = self._heard_at(receiver, stamp)
                receiver.heard[origin] = max(heard, receiver.heard.get(origin, LONG_AGO))

    def _note_bare(self, receiver: Replica, told: Vector) -> None:
        """Whose rows came without their component, and when who sent the first had heard them."""
        if not (self.rules.count_rows and self.rules.by_teller):
            return
        stamps: dict[Life, int] = {}
        for row in receiver.rows.values():
            if row.live and row.origin not in receiver.vector:
                stamps[row.origin] = min(row.stamp, stamps.get(row.origin, row.stamp))
        for origin, oldest in stamps.items():
            age = self._wall(receiver) - told.get(origin, oldest) // TICK
            stamps[origin] = receiver.bare.get(origin, self.now - max(0, age))
        receiver.bare = stamps

    def _without_the_dead(self, receiver: Replica, message: Message) -> Message:
        """No message is as late as this: links break long before, and a delta names both lives."""
        limit = (self._wall(receiver) - self.spans.horizon) * TICK
        dead = {
            origin
            for origin, stamp in message.new.items()
            if stamp < limit and origin not in receiver.vector and self._has_newer(receiver, origin)
        }
        kept = [place for place, row in enumerate(message.rows) if row.origin not in dead]
        return message._replace(
            new={origin: stamp for origin, stamp in message.new.items() if origin not in dead},
            keys=tuple(message.keys[place] for place in kept),
            rows=tuple(message.rows[place] for place in kept),
        )

    def _replaced(self, receiver: Replica, message: Message) -> set[Life]:
        """The origins of which a delta has all rows, in place of ours."""
        if not self.rules.replace or message.is_part:
            return set()
        return {
            origin
            for origin, stamp in message.new.items()
            if (self._is_unknown(receiver, origin) or self._is_beyond(receiver, origin))
            and not message.base.get(origin, 0)
            and (stamp >= receiver.vector.get(origin, 0) or not self.rules.not_by_less)
        }

    def _is_unknown(self, receiver: Replica, origin: Life) -> bool:
        """Whether nothing counts that is held of an origin."""
        by_teller = self.rules.count_rows and self.rules.by_teller
        return origin not in receiver.vector and not by_teller

    def _came(self, receiver: Replica, message: Message) -> set[int]:
        """Keys whose held version came in this transfer, or an earlier part of it."""
        if not self.rules.keep_parts:
            return set()
        return {
            key
            for (sender, transfer, key), row in receiver.came.items()
            if sender == message.sender
            and (transfer == message.transfer or not self.rules.by_transfer)
            and receiver.rows.get(key) == row
        }

    def _heard_at(self, receiver: Replica, stamp: int) -> int:
        age = self._wall(receiver) - stamp // TICK
        late = age > self.spans.drift and self.rules.heard_when_new
        return self.now - age if late else self.now

    # Between gateways and replicas.

    def contact(self, gateway: Gateway, replica: Replica) -> None:
        """A beat that is heard, with all that the two have to say to each other."""
        anew = gateway.home != replica.life or gateway.life not in replica.attached
        if anew:
            gateway.home = replica.life
            if self.rules.move_on_attach:
                gateway.attachment += 1
                gateway.holds = {
                    key: (resume, max(move + 1, gateway.attachment))
                    for key, (resume, move) in gateway.holds.items()
                }
            if self.rules.move_ends:
                gateway.ended = {
                    key: (resume, max(move + 1, gateway.attachment))
                    for key, (resume, move) in gateway.ended.items()
                }
        replica.attached[gateway.life] = replica.beats[gateway.life] = self.now
        for key, epoch in sorted(gateway.ended.items()):
            held = replica.rows.get(key)
            if held is None or (held.live and (held.resume, held.move) <= epoch):
                self._write(replica, key, epoch, gateway.life, live=False)
        gateway.ended.clear()
        for key, epoch in sorted(gateway.holds.items()):
            self._announce(gateway, replica, key, epoch)
        if self.rules.whole_set and (anew or self.rules.whole_set_later):
            for key, row in sorted(replica.rows.items()):
                if row.live and row.holder == gateway.life and key not in gateway.holds:
                    self._end(replica, key)

    def _announce(
        self, gateway: Gateway, replica: Replica, key: int, epoch: tuple[int, int]
    ) -> None:
        held = replica.rows.get(key)
        if held is not None:
            beaten = (held.resume, held.move)
            if held.live and held.holder == gateway.life and beaten >= epoch:
                return
            if beaten > epoch or (beaten == epoch and not held.live):
                own = held.resume == epoch[0]
                if own or not self.rules.refute_own_only:
                    epoch = (held.resume, max(held.move, epoch[1]) + 1)
                    gateway.holds[key] = epoch
                else:
                    if not own:
                        del gateway.holds[key]
                        gateway.lost.pop(key, None)
                    return
        self._write(replica, key, epoch, gateway.life, live=True)

    # One tick.

    def round(
        self, edges: Iterable[tuple[Life, Life]], *, unheard: frozenset[int] = frozenset()
    ) -> None:
        """Beats, sweeps, and one delta along each edge, in this order; then a tick passes."""
        before = {
            (replica.life, key): row
            for replica in self.replicas
            for key, row in replica.rows.items()
            if row.live
        }
        for gateway in self.gateways:
            self._run_gateway(gateway, heard=gateway.life[0] not in unheard)
        for replica in self.replicas:
            if not replica.asleep:
                self._sweep(replica)
        for sender, receiver in edges:
            one, other = self.replica(sender), self.replica(receiver)
            if one is not None and other is not None and not (one.asleep or other.asleep):
                self.receive(other, self.delta(one, other))
        self._look_for_losses(before)
        self._look_for_returns()
        self.now += 1

    def _run_gateway(self, gateway: Gateway, *, heard: bool) -> None:
        for key, tick in list(gateway.lost.items()):
            if self.now - tick >= self.spans.client_lease:
                del gateway.lost[key]
                gateway.ended[key] = gateway.holds.pop(key)
        if not heard:
            return
        home = None if gateway.home is None else self.replica(gateway.home)
        if home is None or home.asleep:
            home = self.newest(gateway.place)
            if home is None or home.asleep:
                home = next((r for r in self.replicas if not r.asleep), None)
        if home is not None:
            self.contact(gateway, home)

    def _sweep(self, replica: Replica) -> None:
        rules, spans = self.rules, self.spans
        replica.clock = max(replica.clock, self._wall(replica) * TICK)
        replica.vector[replica.origin] = replica.clock
        replica.heard[replica.origin] = self.now
        for gateway, tick in sorted(replica.attached.items()):
            if self.now - tick > spans.unreachable_max:
                del replica.attached[gateway]
                for key, row in sorted(replica.rows.items()):
                    mine = row.live and row.holder == gateway and row.origin == replica.origin
                    if mine and rules.end_silent:
                        self._end(replica, key)
        if rules.sweep_old_lives and self.now - replica.since > spans.unreachable_max:
            for key, row in sorted(replica.rows.items()):
                name, life = row.origin
                old = name == replica.origin[0] and life < replica.origin[1]
                quiet = self.now - replica.beats.get(row.holder, LONG_AGO)
                if row.live and old and quiet > spans.unreachable_max:
                    self._end(replica, key)
        limit = self._wall(replica) - spans.retention
        for key, row in list(replica.rows.items()):
            if not row.live and row.stamp // TICK < limit:
                del replica.rows[key]
        self._drop_old_lives(replica)

    def _drop_old_lives(self, replica: Replica) -> None:
        rules = self.rules
        origins = set(replica.vector)
        if rules.count_rows:
            origins |= {row.origin for row in replica.rows.values()}
        for origin in sorted(origins):
            dead = self._has_newer(replica, origin) or not rules.drop_only_old_lives
            if rules.drop_old_lives and dead and self._is_beyond(replica, origin):
                replica.vector.pop(origin, None)
                replica.heard.pop(origin, None)
                for key, row in list(replica.rows.items()):
                    if row.origin == origin:
                        del replica.rows[key]

    @staticmethod
    def _has_newer(replica: Replica, origin: Life) -> bool:
        return any(o[0] == origin[0] and o[1] > origin[1] for o in replica.vector)

    def _look_for_losses(self, before: dict[tuple[Life, int], Row]) -> None:
        """A row does not vanish while its client is there and its home holds it."""
        for (life, key), row in before.items():
            replica = self.replica(life)
            if replica is None or replica.rows.get(key, NOTHING)[:4] >= row[:4]:
                continue
            home = self.newest(row.origin[0])
            there = self.clients.get(key) == (row.resume, row.holder) and self._is_current(key, row)
            held = home is not None and home.origin == row.origin and home.rows.get(key) == row
            if there and held:
                self.broken.append(f"w{life[0]} has forgotten session {key}, which is there")

    def _is_current(self, key: int, row: Row) -> bool:
        """Whether its holder has not announced a later version, perhaps to somebody unheard."""
        epochs = [g.holds.get(key) for g in self.gateways if g.life == row.holder]
        return epochs == [(row.resume, row.move)]

    def _look_for_returns(self) -> None:
        """A version whose end a replica has seen does not come back to it.

        Unless its home stood behind it after that was written, so that it was no end of the
        session, and did so within the horizon: others may hear of it when that is over.
        """
        told = {
            version
            for message in self.wire
            for version in zip(message.keys, message.rows, strict=True)
        }
        held = {item for replica in self.replicas for item in replica.rows.items()} | told
        stood = {version: tick for version, tick in self.stood.items() if version in held}
        self.stood = stood | {
            version: self.now for version in held if self._stands_behind(*version)
        }
        for replica in self.replicas:
            for key, row in replica.rows.items():
                if row.live and self.attempts.get((key, row.resume), row.holder) != row.holder:
                    self.broken.append(f"two gateways hold one attempt of session {key}")
                if not row.live:
                    replica.ends[key] = max(row[:3], replica.ends.get(key, row[:3]))
                elif replica.shown.get(key) != row and self._is_back(replica, key, row):
                    self.broken.append(
                        f"session {key}, which has ended, is back at w{replica.life[0]}"
                    )
            replica.shown = {key: row for key, row in replica.rows.items() if row.live}

    def _is_back(self, replica: Replica, key: int, row: Row) -> bool:
        """Whether a version has come that a replica saw end, and nobody had reason to tell."""
        end = replica.ends.get(key)
        if end is None or row[:2] > end[:2]:
            return False
        if row[:3] > end:
            return True  # Who announces again what has ended moves on.
        if self.clients[key] == (row.resume, row.holder):
            return False
        stood = self.stood.get((key, row), LONG_AGO)
        too_early = stood + self.spans.drift < end[2] // TICK
        return too_early or self.now - stood > self.spans.horizon

    def _stands_behind(self, key: int, row: Row) -> bool:
        """Whether the home of a row has reason to: its holder is there, or died just now."""
        runs = {gateway.life: gateway.home for gateway in self.gateways}
        return row.live and any(
            home.origin == row.origin
            and not home.asleep
            and home.rows.get(key) == row
            and row.holder in home.attached
            and runs.get(row.holder, home.life) == home.life
            for home in self.replicas
        )

    # The end.

    def troubles(self, *, apart: frozenset[Life] = frozenset()) -> list[str]:
        """What is wrong with a world that was left in peace for long; ``apart`` nobody hears."""
        found = list(self.broken)
        truth = {
            key: gateway
            for key, (_, gateway) in self.clients.items()
            if gateway is not None
            and not any(g.life == gateway and g.home in apart for g in self.gateways)
        }
        lives = sorted({replica.origin for replica in self.replicas if replica.life not in apart})
        for replica in self.replicas:
            if replica.life in apart:
                continue
            where = f"w{replica.life[0]}"
            held = {key: row.holder for key, row in replica.rows.items() if row.live}
            ends = sorted(key for key, row in replica.rows.items() if not row.live)
            found.extend(f"{where} has lost session {key}" for key in sorted(truth.keys() - held))
            found.extend(f"{where} has a ghost of session {k}" for k in sorted(held.keys() - truth))
            found.extend(
                f"{where} has session {key} at another gateway"
                for key in sorted(held.keys() & truth)
                if held[key] != truth[key]
            )
            found.extend(f"{where} never forgets the end of session {key}" for key in ends)
            strangers = sorted(o for o in replica.vector if o not in lives)
            found.extend(f"{where} never forgets w{n}'s life {life}" for n, life in strangers)
        return found
