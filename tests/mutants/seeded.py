"""Bugs that the tests must notice: a replacement in a file each, and the tests that catch it."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MUTANTS", "Mutant"]

_MAP: Final = "crdt/lww_map.py"
_FANOUT: Final = "presence_actors/core/fanout.py"
_GOSSIP: Final = "presence_actors/core/gossip.py"
_REPLICA: Final = "presence_actors/core/replica.py"
_LAWS: Final = "tests/unit/crdt/test_counterexamples.py"
_SCENARIOS: Final = "tests/simulation/test_scenarios.py"
_PEOPLE: Final = "tests/simulation/test_scenarios_of_people.py"
_KNOWN: Final = "tests/simulation/test_known_bugs.py"
_UNREADY: Final = "tests/simulation/test_unready.py"
_RETURNS: Final = "tests/simulation/test_resume_anywhere.py"
_MACHINE: Final = "tests/unit/core/test_replica.py"


class Mutant(NamedTuple):
    """A bug.

    Attributes:
        name: What it does.
        file: The file that it is in.
        old: What stands there, once.
        new: What stands there instead.
        tests: The file of tests that catches it.
        only: Words in the names of those tests; all of the file if empty.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str
    only: str = ""


MUTANTS: Final = (
    Mutant(
        "drop the tie-break",
        _MAP,
        "return (row.origin > origin) - (row.origin < origin)",
        "return 0",
        _LAWS,
    ),
    Mutant("ignore the epoch", _MAP, "if row.epoch != epoch:", "if False:", _LAWS),
    Mutant(
        "advance the vector over a lost delta",
        _MAP,
        "columns.require_acceptable(delta.base,",
        "columns.require_acceptable(VersionVector(),",
        _LAWS,
    ),
    Mutant(
        "take covered rows again",
        _MAP,
        "if covers(row.origin, row.stamp):",
        "if False:",
        _LAWS,
    ),
    Mutant(
        "accept a stamp from the far future",
        _MAP,
        "greatest = max(delta.clock, max(delta.rows.stamps.tolist(), default=0))",
        "greatest = 0",
        "tests/unit/crdt/test_lww_map.py",
    ),
    Mutant(
        "keep tombstones without the client lease",
        "crdt/horizon.py",
        "            self.client_lease_ms\n            + self.graces_ms",
        "            self.graces_ms",
        "tests/unit/crdt/test_horizon.py",
    ),
    Mutant(
        "let parts advance the vector",
        _GOSSIP,
        "new = believed_of(source, withheld) if complete else self.acked",
        "new = believed_of(source, withheld)",
        _SCENARIOS,
        "parts",
    ),
    Mutant(
        "do not relay removals",
        _GOSSIP,
        "delta = PackedDelta(self.acked, new, rows, clock)",
        "delta = PackedDelta(self.acked, new, rows.take(rows.statuses.nonzero()[0]), clock)",
        _SCENARIOS,
        "agreement or third_replica",
    ),
    Mutant(
        "reuse an origin after a restart",
        "presence_actors/core/ids.py",
        'f"{name}/{start_wall_ms & (1 << 48) - 1:012x}{random_64 & (1 << 64) - 1:016x}"',
        'f"{name}/0000000000010000000000000002"',
        _SCENARIOS,
        "restarted_replica or new_life",
    ),
    Mutant(
        "raise the epoch in an end by a third party",
        _REPLICA,
        'status=REMOVED, holder="", value=hidden if',
        'epoch=row.epoch + (1 << 32), status=REMOVED, holder="", value=hidden if',
        _PEOPLE,
        "cut_off_for_long",
    ),
    Mutant(
        "judge at once after a pause",
        _REPLICA,
        "if not self._amnesty.holds(self._now.instant):",
        "if True:",
        _SCENARIOS,
        "wakes_up",
    ),
    Mutant(
        "answer from an empty replica",
        "presence_actors/core/leftovers.py",
        "ready=ready,",
        "ready=True,",
        _UNREADY,
    ),
    Mutant(
        "take a repeated announcement after the end",
        _REPLICA,
        "row.epoch < held.epoch or (row.epoch == held.epoch and not held.live)",
        "row.epoch < held.epoch",
        _MACHINE,
    ),
    Mutant(
        "end nothing that an announcement lacks",
        _REPLICA,
        "        self._end([row for row in held if row.key not in attachment.keys], _LEFT)\n",
        "",
        _MACHINE,
    ),
    Mutant(
        "promise nothing when idle",
        _REPLICA,
        "            self._store.promise(self._now)\n",
        "",
        _SCENARIOS,
        "one_way or silence",
    ),
    Mutant(
        "take of a promise for both maps only what it says of entries",
        _REPLICA,
        "for which in (PRESENCE, DURABLE):\n                self._take_delta",
        "for which in (PRESENCE,):\n                self._take_delta",
        "tests/property/test_promises.py",
    ),
    Mutant(
        "let the later of two choices win, not the private one",
        "presence_actors/core/durable.py",
        "turn += int(private)",
        "turn += 0 * int(private)",
        _PEOPLE,
        "private_one_wins",
    ),
    Mutant(
        "leave out keys after the end of a part",
        _GOSSIP,
        "limit=GOSSIP_ROWS_MAX, known=self._known",
        "limit=GOSSIP_ROWS_MAX",
        "tests/unit/core/test_gossip.py",
    ),
    Mutant(
        "take a key with the hash of another one",
        "crdt/unpacking.py",
        "elif hasher.words_of(key) == (topic_word, word):",
        "elif hasher.words_of(key):",
        "tests/unit/crdt/test_unpacking.py",
    ),
    Mutant(
        "tell nobody what a batch took from a gateway",
        "presence_actors/core/news.py",
        "wanted |= lost & (replaced.statuses > 0)",
        "lost.any()",
        "tests/unit/core/test_replica_among_peers.py",
    ),
    # Where stamps alone decided, this would be an expiry stamped with the time of the expiry.
    Mutant(
        "let an expiry beat a return",
        "presence_actors/core/sessions.py",
        "            epoch=self.entries[topic].epoch,\n            status=0,",
        "            epoch=self.entries[topic].epoch + (1 << 33),\n            status=0,",
        _KNOWN,
        "expiry",
    ),
    Mutant(
        "advance by a promise whose base was not seen",
        "crdt/columnar_map.py",
        "self.require_acceptable(base, new, clock, wall_ms)",
        "self.require_acceptable(VersionVector(), new, clock, wall_ms)",
        _LAWS,
    ),
    Mutant(
        "clamp a stamp from the far future",
        "crdt/hlc.py",
        "raise StampTooFar(stamp, wall_ms, self._drift_ms_max)",
        "stamp = pack_stamp(wall_ms + self._drift_ms_max, 0)",
        "tests/unit/crdt/test_hlc.py",
    ),
    Mutant(
        "drop a tombstone before the horizon",
        "presence_actors/core/store.py",
        "return self._horizon.drop_before(now.wall)",
        "return self._horizon.drop_before(now.wall + self._horizon.horizon_ms)",
        "tests/unit/core/test_store.py",
    ),
    Mutant(
        "forget the grace when a gateway dies",
        _FANOUT,
        "span = self._knobs.grace_gateway_ms if dead else",
        "span = 0 if dead else",
        "tests/unit/core/test_fanout.py",
    ),
    Mutant(
        "hold back without a bound",
        "presence_actors/core/stream.py",
        "return len(self._unacknowledged) >= SEGMENTS_UNACKNOWLEDGED_MAX",
        "return False",
        "tests/unit/core/test_fanout.py",
    ),
    Mutant(
        "take a late announcement",
        _REPLICA,
        "if self._has_moved_on(message):",
        "if False:",
        _MACHINE,
    ),
    Mutant(
        "resume from what the replica has seen, not from what the client has",
        "presence_actors/core/watching.py",
        "            seen, keys = waiting.cursor, view",
        "            seen, keys = waiting.cursor and self._link(view).vectors[PRESENCE], view",
        _RETURNS,
        "misses_nothing",
    ),
    Mutant(
        "tell whoever was ahead nothing of ends that were never shown here",
        "presence_actors/core/topic_view.py",
        "if row is not None and _is_public_end(row) and self._ahead:",
        "if False:",
        _RETURNS,
        "misses_nothing",
    ),
    Mutant(
        "resume from before the horizon",
        "presence_actors/core/watching.py",
        "if seen is None or is_stale(seen, ours, wall=now.wall, "
        "horizon_ms=self._knobs.horizon_ms):",
        "if seen is None:",
        _RETURNS,
        "misses_nothing",
    ),
    Mutant(
        "keep what a snapshot leaves out",
        "presence_actors/core/watched.py",
        "for ref in [ref for ref in picture.entries if ref not in whole]:",
        "for ref in list[str]():",
        _RETURNS,
        "misses_nothing",
    ),
    Mutant(
        "go on with one part of a room from the cursor of another one",
        "presence_actors/core/cursors.py",
        "if mark.startswith(_RANGE) and mark != mark_of_range(keys):",
        "if False:",
        "tests/unit/core/test_cursors.py",
        "part_of_a_room",
    ),
    Mutant(
        "tell all of a difference to who looks at a part",
        "presence_actors/core/ranges.py",
        "        part = cut_diff(diff, keys)\n",
        "        part = diff\n",
        "tests/simulation/test_key_ranges.py",
    ),
)
