"""Search for histories that end badly: all of them within bounds, or many at random.

A step is an event or a round. Two worlds that differ only in how long ago they began are one
(`canonical`), so what is old enough to have no meaning any more makes no difference, and the
search ends although time does not. After each history the world is left in peace, fully
connected, for longer than anything is kept; then it must be as the truth says.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from tests.model.parts import Gateway, Life, Message, Rules, Spans
from tests.model.sameness import canonical
from tests.model.world import World

__all__ = ["Exploration", "Scope", "explore", "play", "shrink", "wander"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What may happen in a search.

    Attributes:
        workers: How many workers there are.
        places: For each gateway the worker that it prefers.
        sessions: How many devices there are; each starts at the gateway of its number.
        events: The names of the events that may happen; ``cut`` lets rounds be cut.
        events_max: How many events in one history, rounds apart.
        rounds_max: How many rounds.
    """

    workers: int = 2
    places: tuple[int, ...] = (0, 1)
    sessions: int = 1
    events: tuple[str, ...] = ()
    events_max: int = 2
    rounds_max: int = 6
    drift: int = 0

    def begin(self, rules: Rules, spans: Spans | None = None) -> World:
        """Everybody knows everybody."""
        world = World(rules, spans or Spans.safe(drift=self.drift))
        for name in range(self.workers):
            world.start(name, 1, skew=name % 2 * self.drift)
        world.gateways = [Gateway((name, 1), place) for name, place in enumerate(self.places)]
        for session in range(self.sessions):
            gateway = world.gateways[session % len(self.places)]
            gateway.holds[session] = (0, 0)
            world.clients[session] = (0, gateway.life)
        for _ in range(2):
            world.round(all_edges(world))
        return world


@dataclass(slots=True)
class Exploration:
    """What a search found."""

    states: int = 0
    steps: int = 0
    #: Whether no step led beyond what was seen.
    complete: bool = False
    troubles: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def timeline(self) -> str:
        """The history that ended badly, a line for each step."""
        lines = [f"  {number:2} {step}" for number, step in enumerate(self.history, 1)]
        return "\n".join([*lines, "     then peace, and:", *(f"     ! {t}" for t in self.troubles)])


# Steps have names; a history is a list of them, and can be played again.


def all_edges(world: World, apart: frozenset[Life] = frozenset()) -> list[tuple[Life, Life]]:
    """Everybody to everybody."""
    lives = sorted(replica.life for replica in world.replicas if replica.life not in apart)
    return list(permutations(lives, 2))


def _edges(world: World, spoken: str) -> list[tuple[Life, Life]]:
    """``0-1,1>2``: who talks to whom, by places in the order of lives."""
    lives = sorted(replica.life for replica in world.replicas)
    edges: list[tuple[Life, Life]] = []
    for pair in filter(None, spoken.split(",")):
        left, mark, right = pair[0], pair[1], pair[2]
        if max(int(left), int(right)) >= len(lives):
            continue
        edges.append((lives[int(left)], lives[int(right)]))
        if mark == "-":
            edges.append((lives[int(right)], lives[int(left)]))
    return edges


def take(world: World, step: str) -> bool:
    """Carry out a step; whether it could be."""
    verb, *arguments = step.split()
    numbers = [int(argument) for argument in arguments if argument.isdecimal()]
    match verb:
        case "round":
            unheard = frozenset(
                int(argument[1:]) for argument in arguments if argument.startswith("!")
            )
            spoken = next((a for a in arguments if not a.startswith("!")), "")
            edges = all_edges(world) if spoken == "all" else _edges(world, spoken)
            world.round(edges, unheard=unheard)
            return True
        case "leave" | "hop":
            return _move_client(world, verb, numbers)
        case "crash" | "attach":
            return _move_gateway(world, verb, numbers)
        case "send" | "part" | "deliver" | "drop":
            return _move_message(world, verb, numbers)
        case _:
            return _move_worker(world, verb, numbers[0])


def _move_client(world: World, verb: str, numbers: list[int]) -> bool:
    session = numbers[0]
    resume, at = world.clients[session]
    holder = next((g for g in world.gateways if g.life == at), None)
    if verb == "leave":
        if holder is None or session not in holder.holds:
            return False
        holder.ended[session] = holder.holds.pop(session)
        world.clients[session] = (resume, None)
        return True
    goal = world.gateway(numbers[1])
    if at == goal.life:
        return False
    if holder is not None and session in holder.holds:
        holder.lost[session] = world.now
    goal.lost.pop(session, None)
    goal.holds[session] = (resume + 1, goal.attachment)
    world.clients[session] = (resume + 1, goal.life)
    world.attempts[session, resume + 1] = goal.life
    return True


def _move_gateway(world: World, verb: str, numbers: list[int]) -> bool:
    gateway = world.gateway(numbers[0])
    if verb == "attach":
        goal = world.newest(numbers[1])
        if goal is None or goal.asleep or gateway.home == goal.life:
            return False
        world.contact(gateway, goal)
        return True
    name, life = gateway.life
    world.gateways.remove(gateway)
    world.gateways.append(Gateway((name, life + 1), gateway.place))
    world.gateways.sort(key=lambda one: one.life)
    for session, (resume, at) in world.clients.items():
        if at == gateway.life:
            world.clients[session] = (resume, None)
    return True


def _move_worker(world: World, verb: str, name: int) -> bool:
    newest = world.newest(name)
    if newest is None:
        return False
    running = [replica for replica in world.replicas if replica.life[0] == name]
    match verb:
        case "restart" | "twin":
            if verb == "restart":
                world.replicas.remove(newest)
            world.start(name, newest.life[1] + 1, skew=newest.skew)
        case "end":
            if len(running) == 1:
                return False
            world.replicas.remove(running[0])
        case "sleep" if not newest.asleep:
            newest.asleep = True
        case "wake" if newest.asleep:
            newest.asleep = False
        case _:
            return False
    world.replicas.sort(key=lambda replica: replica.life)
    return True


def _move_message(world: World, verb: str, numbers: list[int]) -> bool:
    if verb in {"deliver", "drop"}:
        if numbers[0] >= len(world.wire):
            return False
        message = world.wire.pop(numbers[0])
        to = message.receiver
        receiver = world.replica(to) if world.rules.for_this_life else world.newest(to[0])
        if verb == "drop" or receiver is None or receiver.asleep:
            return verb == "drop"
        world.receive(receiver, message)
        return True
    lives = sorted(replica.life for replica in world.replicas)
    if max(numbers[:2]) >= len(lives):
        return False
    sender, receiver = (world.replica(lives[number]) for number in numbers[:2])
    if sender is None or receiver is None or sender.asleep or receiver.asleep:
        return False
    message = world.delta(sender, receiver)
    if verb == "part":
        if len(message.rows) < 2:
            return False
        world.transfers += 1
        message = message._replace(transfer=world.transfers)
        world.receive(receiver, _first_part(message))
        message = _last_part(message)
    world.wire.append(message._replace(sent=world.now))
    return True


def _first_part(message: Message) -> Message:
    return message._replace(rows=message.rows[:1], keys=message.keys[:1], is_part=True)


def _last_part(message: Message) -> Message:
    return message._replace(rows=message.rows[1:], keys=message.keys[1:])


# Searches.


class _Peace:
    """Leaves worlds in peace, and remembers which ones ended well."""

    def __init__(self) -> None:
        self._good: set[tuple[Hashable, int]] = set()

    def troubles(self, world: World) -> list[str]:
        """What is wrong in the end, whether an old life ends or goes on unheard."""
        found = self._settle(world.clone(), frozenset())
        newest = {replica.life[0]: replica.life for replica in world.replicas}
        apart = frozenset(
            replica.life for replica in world.replicas if replica.life != newest[replica.life[0]]
        )
        if found or not apart:
            return found
        return self._settle(world.clone(), apart)

    def _settle(self, world: World, apart: frozenset[Life]) -> list[str]:
        spans = world.spans
        span = spans.retention + spans.horizon + 6
        if not apart:
            newest = {replica.life[0]: replica.life for replica in world.replicas}
            world.replicas = [r for r in world.replicas if r.life == newest[r.life[0]]]
        for replica in world.replicas:
            replica.asleep = False
        world.wire.clear()
        passed: list[tuple[Hashable, int]] = []
        early = spans.unreachable_max + spans.client_lease + 4
        before: Hashable = None
        for left in range(span, 0, -1):
            key = (state := canonical(world), left)
            if key in self._good and not apart:
                break
            passed.append(key)
            if state == before:  # Nothing will ever change again.
                if found := world.troubles(apart=apart):
                    return found
                break
            before = state
            if apart:  # What a life says that nobody hears is not known to be over.
                world.broken.clear()
            if left == span - early and (ghosts := _early(world.troubles(apart=apart))):
                return ghosts
            world.round(all_edges(world, apart))
        else:
            if found := world.troubles(apart=apart):
                return found
        if not apart:
            self._good.update(passed)
        return []


def _early(troubles: Sequence[str]) -> list[str]:
    """What must be right soon; what is only to be forgotten may take its time."""
    return [trouble for trouble in troubles if "never" not in trouble]


def explore(scope: Scope, rules: Rules, spans: Spans | None = None) -> Exploration:
    """All histories of a scope, the short ones first, up to the first that ends badly."""
    result, peace = Exploration(), _Peace()
    first = scope.begin(rules, spans)
    origin: dict[Hashable, tuple[Hashable, str]] = {}
    start = canonical(first)
    seen: dict[Hashable, tuple[int, int]] = {start: (0, 0)}
    frontier: list[tuple[World, Hashable, int, int]] = [(first, start, 0, 0)]
    while frontier:
        following: list[tuple[World, Hashable, int, int]] = []
        for world, before, rounds, events in frontier:
            for step in steps(world, scope, rounds, events):
                after = world.clone()
                if not take(after, step):
                    continue
                result.steps += 1
                cost = (rounds + step.startswith("round"), events + (not step.startswith("round")))
                key = canonical(after)
                best = seen.get(key)
                if best is not None and best[0] <= cost[0] and best[1] <= cost[1]:
                    continue
                if best is None:
                    origin[key] = (before, step)
                    if found := peace.troubles(after):
                        result.troubles = found
                        result.history = _history(origin, key)
                        result.states = len(seen)
                        return result
                seen[key] = cost
                following.append((after, key, *cost))
        frontier = following
    result.states = len(seen)
    result.complete = True
    return result


def _history(origin: dict[Hashable, tuple[Hashable, str]], key: Hashable) -> list[str]:
    steps: list[str] = []
    while key in origin:
        key, step = origin[key]
        steps.append(step)
    return steps[::-1]


def steps(world: World, scope: Scope, rounds: int, events: int) -> Iterator[str]:
    """What may happen next."""
    if rounds < scope.rounds_max:
        yield from _rounds(world, scope)
    if events < scope.events_max:
        for name in scope.events:
            yield from _events(world, scope, name)


def _rounds(world: World, scope: Scope) -> Iterator[str]:
    pairs = [f"{left}-{right}" for right in range(len(world.replicas)) for left in range(right)]
    topologies = [",".join(pairs)]
    if "cut" in scope.events:
        count = 1 << len(pairs)
        topologies = [
            ",".join(pair for bit, pair in enumerate(pairs) if chosen >> bit & 1)
            for chosen in range(count - 1, -1, -1)
        ]
    silences = [""]
    if "unheard" in scope.events:
        silences += [f" !{name}" for name in range(len(scope.places))]
    for spoken in topologies:
        for silence in silences:
            yield f"round {spoken}{silence}"


def _events(world: World, scope: Scope, name: str) -> Iterator[str]:
    places, lives = range(len(scope.places)), range(len(world.replicas))
    match name:
        case "leave":
            yield from (f"leave {session}" for session in range(scope.sessions))
        case "hop":
            yield from (f"hop {s} {place}" for s in range(scope.sessions) for place in places)
        case "crash":
            yield from (f"crash {place}" for place in places)
        case "attach":
            yield from (f"attach {p} {worker}" for p in places for worker in range(scope.workers))
        case "send" | "part":
            if len(world.wire) < 2:
                yield from (f"{name} {one} {other}" for one, other in permutations(lives, 2))
        case "deliver":
            # Links break long before a message is as late as that.
            for number, message in enumerate(world.wire):
                if world.now - message.sent < world.spans.horizon:
                    yield f"{name} {number}"
        case "restart" | "twin" | "end" | "sleep" | "wake":
            if name != "twin" or len(world.replicas) == scope.workers:
                yield from (f"{name} {worker}" for worker in range(scope.workers))
        case _:
            return


def wander(scope: Scope, rules: Rules, *, seed: int, histories: int) -> Exploration:
    """Many histories at random, each as long as the scope allows; the first that ends badly."""
    rng = random.Random(seed)
    result, peace = Exploration(), _Peace()
    for _ in range(histories):
        world = scope.begin(rules)
        history: list[str] = []
        calm = rng.choice((0.2, 0.4, 0.6))
        spoken = "all"
        for _ in range(scope.rounds_max):
            while rng.random() > calm:
                choices = [s for name in scope.events for s in _events(world, scope, name)]
                if choices and take(world, step := rng.choice(choices)):
                    history.append(step)
            if rng.random() < 0.3:
                spoken = rng.choice(list(_topologies_at_random(world, rng)))
            step = f"round {spoken if _fits(world, spoken) else 'all'}"
            if "unheard" in scope.events and rng.random() < 0.2:
                step += f" !{rng.randrange(len(scope.places))}"
            take(world, step)
            history.append(step)
            result.steps += 1
        if peace.troubles(world):
            result.history = shrink(scope, rules, history)
            result.troubles = play(scope, rules, result.history)
            return result
    result.complete = True
    return result


def _fits(world: World, spoken: str) -> bool:
    count = len(world.replicas)
    numbers = [int(mark) for mark in spoken if mark.isdecimal()]
    return spoken == "all" or max(numbers, default=0) < count


def _topologies_at_random(world: World, rng: random.Random) -> Iterator[str]:
    edges = [f"{a}>{b}" for a, b in permutations(range(len(world.replicas)), 2)]
    rng.shuffle(edges)
    yield ",".join(edge for edge in edges if rng.random() < 0.5)
    yield "all"
    half = {n for n in range(len(world.replicas)) if rng.random() < 0.5}
    yield ",".join(e for e in edges if (int(e[0]) in half) == (int(e[2]) in half))


def play(
    scope: Scope, rules: Rules, history: Sequence[str], spans: Spans | None = None
) -> list[str]:
    """What is wrong in the end of one history; a step that cannot happen is left out."""
    world = scope.begin(rules, spans)
    for step in history:
        take(world, step)
    return _Peace().troubles(world)


def shrink(scope: Scope, rules: Rules, history: Sequence[str]) -> list[str]:
    """A part of a history that ends badly, from which no step can be left out."""
    best = list(history)
    size = max(1, len(best) // 2)
    while size:
        start = 0
        while start < len(best):
            shorter = best[:start] + best[start + size :]
            if play(scope, rules, shorter):
                best = shorter
            else:
                start += size
        size //= 2
    return best
