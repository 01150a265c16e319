"""When, with whom, how much: one map of one shard towards one peer, and what came back.

A *transfer* is stop-and-wait: a delta with rows goes out, and the next one only after its answer.
What changes meanwhile gathers in the change log, the newest version of each row. A delta that is
too large goes in parts: all but the last leave the vector where it is (new = base), and the last
carries everything up to the end of the log, so that its vector may be claimed. (Lowering the vector
of a truncated delta cannot be made right: a superseded stamp would be claimed and never sent.)

A delta names the life of the receiver that it was made for. A late last part must not count at a
receiver that has started anew and lacks the parts before it.

A promise, an empty delta towards our own newest vector, goes out when idle and is not answered.
"""

from __future__ import annotations

from crdt import Delta, LWWMap, Stamp, VersionVector
from presence_actors.core.ids import NodeId
from presence_actors.core.instants import Instant
from presence_actors.core.limits import GOSSIP_ROWS_MAX

__all__ = ["Flow", "Peer"]


class Flow:
    """What one life of a peer has of one of our maps."""

    __slots__ = (
        "_after",
        "_awaited",
        "_reached",
        "_repeat_at",
        "acked",
        "synchronised",
        "transfer",
    )

    def __init__(self) -> None:
        #: What the peer says it has seen; None before it said anything.
        self.acked: VersionVector | None = None
        #: Whether we once had all that this peer had when it was ready.
        self.synchronised = False
        #: The number of the newest delta that wants an answer.
        self.transfer = 0
        #: The peer has every row of our log up to here.
        self._after = 0
        #: The transfer whose answer is due, if one is.
        self._awaited: int | None = None
        #: Where in our log the awaited delta ends.
        self._reached = 0
        self._repeat_at = Instant(0)

    def note_seen(self, seen: VersionVector) -> None:
        """The peer told what it has seen; that never shrinks in one life."""
        self.acked = seen if self.acked is None else self.acked.merge(seen)

    def note_answer(self, transfer: int, *, accepted: bool) -> bool:
        """The peer answered a delta; whether it was the awaited one."""
        if transfer != self._awaited:
            return False
        self._awaited = None
        if accepted:
            self._after = max(self._after, self._reached)
        return True

    def break_off(self) -> None:
        """The peer fell silent: do not wait for its answer, begin again when it is heard."""
        self._awaited = None

    def lags(self, source: LWWMap) -> bool:
        """Whether there may be rows that the peer lacks."""
        return self._after < source.log_position

    def next_delta(
        self, source: LWWMap, *, clock: Stamp, now: Instant, repeat_at: Instant, greet: bool
    ) -> tuple[Delta, int] | None:
        """What to send now and its transfer number; number 0 is a promise that wants no answer.

        None while an answer is awaited. With `greet`, or while we know nothing of the peer, it is
        an empty delta that only shows that we live.
        """
        if self.acked is None or greet:
            return Delta.nothing(clock), 0
        if self._awaited is not None and now < self._repeat_at:
            return None
        rows, reached, complete = source.missing(
            self.acked, after=self._after, limit=GOSSIP_ROWS_MAX
        )
        new = source.vector if complete else self.acked
        delta = Delta(self.acked, new, rows, clock)
        if len(rows) == 0 and complete:
            self._awaited = None
            self._after = reached
            return delta, 0
        self.transfer += 1
        self._awaited, self._reached, self._repeat_at = self.transfer, reached, repeat_at
        return delta, self.transfer


class Peer:
    """Another replica of the same shard."""

    __slots__ = ("flows", "heard", "node", "ready")

    def __init__(self) -> None:
        #: Its present life; None before it was heard.
        self.node: NodeId | None = None
        self.heard: Instant | None = None
        self.ready = False
        self.flows = (Flow(), Flow())

    def note(self, node: NodeId, now: Instant, *, ready: bool) -> None:
        """It was heard; a new life knows nothing of what the old one was told."""
        if node != self.node:
            self.node = node
            self.flows = (Flow(), Flow())
        self.heard = now
        self.ready = ready

    def is_silent(self, now: Instant, *, after_ms: int) -> bool:
        """Whether nothing was heard of it for `after_ms`, or ever."""
        return self.heard is None or now - self.heard >= after_ms
