"""An app server beside the cluster: acts over HTTP, devices without a socket, and a receiver.

It kicks users and single sessions, chooses for users what is shown, has meters post that they are
there, and is told by webhooks of who shows what. Now and then it takes nothing in, or its answers
are lost. What it asked for is truth, like what people do: an act that was not answered is `info`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from presence_actors.core.acts import Act, Choose, Kick, Publish, Withdraw, carried_session
from presence_actors.core.effects import Notify
from presence_actors.core.events import NoticeAnswered
from presence_actors.core.ids import NodeName, RequestId, SessionId, UserId
from presence_actors.core.instants import Instant, WallMs
from presence_actors.core.topic_view import entry_ref
from presence_actors.core.vocabulary import Intent, UserStatus
from presence_actors.sim.history import Asked, History, Life, Outcome
from presence_actors.sim.plan import AppServer, Plan, is_gateway
from presence_actors.sim.world import World

__all__ = ["AppServers", "Meter"]

_ROUND_TRIP_MS: Final = 20
_POSTS_IN_LEASE: Final = 3
_REST_MS: Final = 15_000


@dataclass(slots=True, eq=False)
class Meter:
    """A device that posts, from its first post to its last."""

    user: UserId
    session: SessionId
    room: str
    lease_ms: int
    posts_left: int
    #: When it posted last, and when it began a post last that was acknowledged.
    posted_ms: int = -1
    acknowledged_ms: int = -1
    ended_ms: int | None = None
    turn: int = 0

    @property
    def ref(self) -> str:
        """Its entry in its room, as watchers know it."""
        return entry_ref((f"default/{self.room}", self.user, self.session))


@dataclass(slots=True)
class AppServers:
    """What the app server of a run does, and what it was told."""

    world: World
    plan: Plan
    history: History
    #: {the ref of its entry: a device that posts, or did}.
    by_ref: dict[str, Meter] = field(default_factory=dict)
    #: {user: the newest notice that was taken}, from whichever worker.
    believed: dict[str, tuple[NodeName, Notify]] = field(default_factory=dict)
    #: Since when it takes notices and its answers arrive.
    up_since_ms: int = 0
    heard: int = 0
    _is_up: bool = True
    _is_mute: bool = False
    _quiet: bool = False
    _open: dict[RequestId, Asked] = field(default_factory=dict)
    _posts: dict[RequestId, Meter] = field(default_factory=dict)

    def begin(self) -> None:
        """From its first act on."""
        app = self.plan.app
        if app is None:
            return
        random = Random(f"{self.plan.seed}/acts")
        self.world.notified = self._note
        self._later(app.begins_ms, partial(self._act, app, random))
        for number in range(app.meters):
            self._later(app.begins_ms, partial(self._place, app, number, 0, random))
        for at_ms, span_ms, mute in app.outages:
            self._later(at_ms, partial(self._go_down, mute=mute))
            self._later(at_ms + span_ms, self._come_up)

    def be_quiet(self) -> None:
        """From now on it only listens."""
        self._quiet = True
        self._come_up()

    def settle(self, now_ms: int) -> None:
        """Takes in what was answered since."""
        for request, asked in list(self._open.items()):
            acted = self.world.acted.get(request)
            if acted is None:
                continue
            del self._open[request]
            asked.answered_ms = now_ms
            asked.outcome = Outcome.OK if acted.refusal is None else Outcome.FAILED
            meter = self._posts.pop(request, None)
            if meter is not None and asked.outcome is Outcome.OK:
                meter.acknowledged_ms = max(meter.acknowledged_ms, asked.invoked_ms)

    # What it asks for.

    def _later(self, span_ms: int, action: Callable[[], None]) -> None:
        self.world.at(Instant(self.world.instant + span_ms), action)

    def _ask(self, act: Act, random: Random) -> tuple[RequestId, Asked]:
        gateway = random.choice([name for name in self.plan.hosts if is_gateway(name)])
        now_ms = self.world.elapsed_ms
        self.history.say(now_ms, f"app server asks {gateway}: {act}")
        request = self.world.act(gateway, act)
        message = act.intent if isinstance(act, Choose) else act
        asked = Asked(message, request, now_ms)
        self._open[request] = asked
        return request, asked

    def _act(self, app: AppServer, random: Random) -> None:
        if self._quiet:
            return
        user = random.choice(app.users)
        kind = random.choice(["kick", "kick one", "choose", "choose"])
        lives = [life for life in self.history.of_user(user) if life.is_there]
        if kind == "choose":
            status = random.choice(["", "dnd", "away", "invisible"])
            span = random.choice([None, None, 5_000, 20_000])
            until = None if span is None else WallMs(self.world.now.wall + span)
            _, asked = self._ask(Choose(UserId(user), Intent(status=status, until=until)), random)
            self.history.add_choice(user, asked)
        elif kind == "kick" or not lives:
            _, asked = self._ask(Kick(UserId(user)), random)
            self.history.add_kick(user, asked, None)
        else:
            self._kick_one(random.choice(lives), random)
        self._later(int(random.expovariate(1 / app.pace_ms)) + 1, partial(self._act, app, random))

    def _kick_one(self, life: Life, random: Random) -> None:
        user = UserId(life.persona.user)
        topics = [f"user:{user}", *life.client.machine.rooms]
        if life.session is None:
            return
        ref = entry_ref((f"default/{random.choice(topics)}", user, life.session))
        _, asked = self._ask(Kick(user, ref=ref), random)
        self.history.add_kick(user, asked, (life.number, life.session))

    # Devices without a socket.

    def _place(self, app: AppServer, number: int, turn: int, random: Random) -> None:
        if self._quiet:
            return
        meter = Meter(
            UserId(f"meter{number}"),
            carried_session(f"meter{number}-{turn}"),
            random.choice(app.rooms),
            app.lease_ms,
            posts_left=random.randrange(2, 20),
            turn=turn,
        )
        self.by_ref[meter.ref] = meter
        self._post(app, number, meter, random)

    def _post(self, app: AppServer, number: int, meter: Meter, random: Random) -> None:
        if self._quiet:
            meter.ended_ms = self.world.elapsed_ms
            return
        if meter.posts_left <= 0:
            if random.random() < 0.5:  # noqa: PLR2004
                self._ask(Withdraw(meter.user, meter.session), random)
            meter.ended_ms = self.world.elapsed_ms
            rest_ms = meter.lease_ms + random.randrange(_REST_MS)
            self._later(rest_ms, partial(self._place, app, number, meter.turn + 1, random))
            return
        meter.posts_left -= 1
        meter.posted_ms = self.world.elapsed_ms
        rooms: dict[str, dict[str, object]] = {meter.room: {"left": meter.posts_left}}
        act = Publish(meter.user, meter.session, "online", "meter", rooms, meter.lease_ms)
        request, _ = self._ask(act, random)
        self._posts[request] = meter
        self._later(
            meter.lease_ms // _POSTS_IN_LEASE, partial(self._post, app, number, meter, random)
        )

    # What it is told.

    def _go_down(self, *, mute: bool) -> None:
        if not self._quiet:
            self._is_up, self._is_mute = mute, mute
            words = "loses its answers" if mute else "takes nothing in"
            self.history.say(self.world.elapsed_ms, f"app server {words}")

    def _come_up(self) -> None:
        if not self.is_well:
            self.history.say(self.world.elapsed_ms, "app server is well again")
            self.up_since_ms = self.world.elapsed_ms
        self._is_up, self._is_mute = True, False

    def _note(
        self, worker: NodeName, notify: Notify, answer: Callable[[NoticeAnswered], None]
    ) -> None:
        if self._is_up:
            self.heard += 1
            known = self.believed.get(notify.user)
            # One that was cut off for good speaks of what it sees, and nobody can correct it.
            lawful = not self._quiet or worker not in self.plan.lost
            if lawful and (known is None or known[1].number <= notify.number):
                self.believed[notify.user] = worker, notify
        if not self._is_mute:
            answered = NoticeAnswered(notify.shard, notify.id, taken=self._is_up, reason="503")
            self._later(_ROUND_TRIP_MS, lambda: answer(answered))

    @property
    def is_well(self) -> bool:
        """Whether notices reach it, and its answers them."""
        return self._is_up and not self._is_mute

    def believes(self, user: str) -> UserStatus:
        """What it takes a user for."""
        known = self.believed.get(user)
        return UserStatus.OFFLINE if known is None else known[1].status
