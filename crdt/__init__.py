"""Values that merge: stamps, version vectors, rows, deltas, and the last-writer-wins map of them.

This package knows nothing of users, actors, time or chance.  Whatever a call needs to know of the
moment is an argument.

=================  ================================================================
`hlc`              stamps, and the hybrid clock that gives them out
`version_vector`   what somebody has seen
`rows`             versions of entries, in batches of columns
`delta`            rows that lead from one vector to another; their encoding
`lww_map`          the map; `put` makes a delta, `apply` is the only mutator
`errors`           what is refused, and why
=================  ================================================================

(`columns`, `change_log` and `group_index` are parts of these.)
"""

from crdt.changes import NO_CHANGES, Changes, Merged, Replaced
from crdt.columnar_map import ColumnarMap
from crdt.delta import Delta
from crdt.errors import (
    BaseNotSeen,
    CrdtError,
    DecodeError,
    KeyCollision,
    KeysUnknown,
    SecretDiffers,
    StampTooFar,
)
from crdt.hlc import HybridClock, Origin, Stamp, pack_stamp, stamp_counter, stamp_wall
from crdt.key_hash import KeyHasher
from crdt.leases import Handles
from crdt.lww_map import LWWMap
from crdt.packed_rows import PackedDelta, PackedRows
from crdt.rows import REMOVED, Key, Row, Rows, epoch_move, epoch_resume, pack_epoch
from crdt.version_vector import Order, VersionVector

__all__ = [
    "NO_CHANGES",
    "REMOVED",
    "BaseNotSeen",
    "Changes",
    "ColumnarMap",
    "CrdtError",
    "DecodeError",
    "Delta",
    "Handles",
    "HybridClock",
    "Key",
    "KeyCollision",
    "KeyHasher",
    "KeysUnknown",
    "LWWMap",
    "Merged",
    "Order",
    "Origin",
    "PackedDelta",
    "PackedRows",
    "Replaced",
    "Row",
    "Rows",
    "SecretDiffers",
    "Stamp",
    "StampTooFar",
    "VersionVector",
    "epoch_move",
    "epoch_resume",
    "pack_epoch",
    "pack_stamp",
    "stamp_counter",
    "stamp_wall",
]
