"""Parts of the model of one shard: rules that can be switched off, spans, lives, messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

#: (name, life): of a worker or of a gateway.
Life = tuple[int, int]
#: {origin: stamp}.
Vector = dict[Life, int]

#: Stamps in one tick of the clock.
TICK: Final = 64
LONG_AGO: Final = -1_000


class Row(NamedTuple):
    """A version of one session's entry; its first four fields are its order."""

    resume: int
    move: int
    stamp: int
    origin: Life
    live: bool
    holder: Life


NOTHING: Final = Row(-1, 0, 0, (0, 0), live=False, holder=(0, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """All times, in ticks; the defaults are the shortest that are allowed."""

    client_lease: int = 1
    unreachable_max: int = 1
    drift: int = 0
    margin: int = 1
    horizon: int = 3
    retention: int = 6

    @classmethod
    def safe(cls, *, drift: int = 0) -> Spans:
        """The shortest horizon and retention for this drift."""
        outlasts = 3 + 2 * drift
        return cls(drift=drift, horizon=outlasts, retention=2 * outlasts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is believed to be needed; each is one sentence of the design."""

    #: Rows of an origin unheard for the horizon are replaced as a whole by somebody who heard it.
    replace: bool = True
    #: Who has not heard an origin within the horizon does not speak for it.
    be_silent: bool = True
    #: Nor is anything replaced by what somebody has seen less of.
    not_by_less: bool = True
    #: Rows above the sender's component are spared.
    spare_above: bool = True
    #: What came in earlier parts of a transfer is not replaced by its last one.
    keep_parts: bool = True
    #: Earlier parts of the same transfer only: one that broke off begins again.
    by_transfer: bool = True
    #: An origin of which only rows are held, no component, is counted like the others.
    count_rows: bool = True
    #: A component that comes late was heard when it was new.
    heard_when_new: bool = True
    #: Rows of an old life that was not heard within the horizon go, if a newer one was heard.
    drop_old_lives: bool = True
    #: Not without a newer life: a silent worker may come back.
    drop_only_old_lives: bool = True
    #: The new life of a worker ends what no gateway announced again.
    sweep_old_lives: bool = True
    #: Each life stamps under an origin of its own.
    fresh_origin: bool = True
    #: An end in the holder's place carries the row's own epoch.
    same_epoch: bool = True
    #: A holder refutes an end of its own resume number and no other one: it has been replaced.
    refute_own_only: bool = True
    #: A replica ends rows that name an attached gateway and are not in its set.
    whole_set: bool = True
    #: Also those that a later merge brings.
    whole_set_later: bool = True
    #: A gateway attaches with a greater move than before.
    move_on_attach: bool = True
    #: So do the ends that it has not told yet.
    move_ends: bool = True
    #: A replica ends the rows of a gateway that is silent for too long.
    end_silent: bool = True
    #: Covered rows are skipped before anything else.
    skip_covered: bool = True
    #: The vector moves with the last part.
    vector_last: bool = True
    #: A message for another life of the receiver is dropped.
    for_this_life: bool = True
    #: Not a rule but which of two forms `count_rows` has. Such an origin was heard when who sent
    #: the first of its rows had heard it, and is replaced past the horizon only, like any other;
    #: or (False) it was heard when its rows were stamped, and is replaced at once.
    by_teller: bool = True


@dataclass(slots=True)
class Replica:
    """One life of a worker."""

    life: Life
    origin: Life
    since: int
    rows: dict[int, Row] = field(default_factory=dict)
    vector: Vector = field(default_factory=dict)
    #: {origin: the tick it was last heard}.
    heard: Vector = field(default_factory=dict)
    #: {origin with live rows and no component: the tick it was last heard, by `Rules.by_teller`}.
    bare: Vector = field(default_factory=dict)
    #: {gateway: the tick of its last beat, here}, and what it held then.
    attached: dict[Life, int] = field(default_factory=dict)
    #: {gateway: the tick of its last beat anywhere, as far as is known}.
    beats: dict[Life, int] = field(default_factory=dict)
    clock: int = 0
    skew: int = 0
    #: {(sender, transfer, key): the version that came in a part}.
    came: dict[tuple[Life, int, int], Row] = field(default_factory=dict)
    asleep: bool = False
    #: {session: the (resume, move, stamp) of the greatest end that was here}, and {session: what
    #: was live here a tick ago}; nobody acts on them.
    ends: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    shown: dict[int, Row] = field(default_factory=dict)

    def clone(self) -> Replica:
        """A copy that changes alone."""
        return Replica(
            self.life,
            self.origin,
            self.since,
            dict(self.rows),
            dict(self.vector),
            dict(self.heard),
            dict(self.bare),
            dict(self.attached),
            dict(self.beats),
            self.clock,
            self.skew,
            dict(self.came),
            self.asleep,
            dict(self.ends),
            dict(self.shown),
        )


@dataclass(slots=True)
class Gateway:
    """One life of a gateway."""

    life: Life
    #: The worker that it prefers.
    place: int
    home: Life | None = None
    #: {session: (resume, move)}.
    holds: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: {session: (resume, move)}: ends that no replica has acknowledged.
    ended: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: {session: the tick its client was last heard}, if it went elsewhere.
    lost: dict[int, int] = field(default_factory=dict)
    attachment: int = 0

    def clone(self) -> Gateway:
        """A copy that changes alone."""
        return Gateway(
            self.life,
            self.place,
            self.home,
            dict(self.holds),
            dict(self.ended),
            dict(self.lost),
            self.attachment,
        )


class Message(NamedTuple):
    """A delta on its way."""

    sender: Life
    receiver: Life
    base: Vector
    new: Vector
    rows: tuple[Row, ...]
    keys: tuple[int, ...]
    clock: int
    beats: dict[Life, int]
    #: Parts of one transfer have one number; 0: it is whole.
    transfer: int = 0
    is_part: bool = False
    #: The tick at which it was sent.
    sent: int = 0
