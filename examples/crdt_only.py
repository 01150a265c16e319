"""The data types alone: two maps that were written to apart agree when they have exchanged deltas.

You will see: what each side holds, who has seen what, and both holding the same afterwards, whoever
told whom first and however often.

    python examples/crdt_only.py
"""

from crdt import Delta, HybridClock, LWWMap, Origin, VersionVector, pack_epoch

NOON = 1_700_000_000_000


class Side:
    """One writer: a map, a clock, and a name that nobody else has."""

    def __init__(self, name: str, *, ahead_ms: int) -> None:
        self.origin = Origin(name)
        self.wall_ms = NOON + ahead_ms
        self.clock = HybridClock(drift_ms_max=2_000)
        self.map = LWWMap(drift_ms_max=2_000)

    def write(self, user: str, value: bytes, *, status: int = 1, resume: int = 0) -> None:
        """Make a delta and apply it, as with one from afar: there is no other way to change."""
        delta = self.map.put(
            keys=[("room:lobby", user, "laptop")],
            epochs=[pack_epoch(resume, 0)],
            statuses=[status],
            holders=[""],
            values=[value],
            origin=self.origin,
            stamps=[self.clock.tick(self.wall_ms)],
        )
        self.map.apply(delta, wall_ms=self.wall_ms)

    def news_for(self, seen: VersionVector) -> bytes:
        """All that somebody who has seen this lacks, as it goes over a wire."""
        rows, _, _ = self.map.missing(seen, after=0, limit=100)
        return Delta(seen, self.map.vector, rows, self.clock.last).encode()

    def __str__(self) -> str:
        return ", ".join(f"{row.key[1]}={row.value.decode()}" for row in self.map.live_rows())


left, right = Side("left", ahead_ms=0), Side("right", ahead_ms=900)
left.write("alice", b"reading", resume=1)  # The later attempt wins: right's clock is ahead.
right.write("alice", b"writing", resume=0)
left.write("bob", b"here")
right.write("carol", b"here too")
print(f"apart:    left has {left}; right has {right}")
print(f"vectors:  {left.map.vector.compare(right.map.vector).name.lower()}")
for_left, for_right = right.news_for(left.map.vector), left.news_for(right.map.vector)
for delta in (for_left, for_left):
    print(
        f"to left:  {len(left.map.apply(Delta.decode(delta), wall_ms=left.wall_ms))} rows changed"
    )
right.map.apply(Delta.decode(for_right), wall_ms=right.wall_ms)
print(f"together: left has {left}")
print(f"equal:    {left.map.digest() == right.map.digest()}")
