"""A packed delta as plain rows, where there are few of them.

A batch in columns costs some hundred microseconds to merge however short it is, and most deltas
between replicas have a handful of rows.  So those are taken apart and go the way of plain rows,
which is cheaper below some ten (`crdt.lww_map`).  Both ways refuse the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crdt.delta import Delta
from crdt.errors import DecodeError, KeysUnknown, SecretDiffers
from crdt.hlc import Origin
from crdt.rows import Key, Rows

if TYPE_CHECKING:
    from crdt.entries import Entries
    from crdt.key_hash import KeyHasher
    from crdt.packed_rows import PackedDelta, PackedRows
    from crdt.version_vector import VersionVector


def unpack(delta: PackedDelta, entries: Entries, hasher: KeyHasher, seen: VersionVector) -> Delta:
    """The delta with plain rows, without those that ``seen`` covers.

    Raises:
        SecretDiffers: Its keys were hashed under another secret.
        KeysUnknown: There is an entry that is not known here, without its full key.
        DecodeError: A full key came with the hash of another one.
    """
    rows = delta.rows
    if not len(rows):
        return Delta(delta.base, delta.new, Rows.empty(), delta.clock)
    if rows.fingerprint != hasher.fingerprint:
        raise SecretDiffers(rows.fingerprint.hex(), hasher.fingerprint.hex())
    origins = [Origin(rows.origins[place]) for place in rows.origin_of.tolist()]
    fresh = [
        place
        for place, (origin, stamp) in enumerate(zip(origins, rows.stamps.tolist(), strict=True))
        if not seen.covers(origin, stamp)
    ]
    if len(fresh) < len(origins):
        rows = rows.take(np.array(fresh, dtype=np.int64))
        origins = [origins[place] for place in fresh]
    return Delta(
        delta.base,
        delta.new,
        Rows(
            keys=_full_keys(rows, entries, hasher),
            stamps=rows.stamps,
            origins=origins,
            epochs=rows.epochs,
            statuses=rows.statuses,
            holders=[rows.holders[place] for place in rows.holder_of.tolist()],
            values=(
                [b""] * len(rows)
                if rows.values is None
                else [value or b"" for value in rows.values.tolist()]
            ),
        ),
        delta.clock,
    )


def _full_keys(rows: PackedRows, entries: Entries, hasher: KeyHasher) -> list[Key]:
    """Those that came, and those that are held of the others."""
    held = entries.table.ids
    given = [None] * len(rows) if rows.ids is None else rows.ids.tolist()
    keys: list[Key] = []
    for (topic_word, word), key in zip(rows.keys.tolist(), given, strict=True):
        if key is None:
            row = entries.find_words((topic_word, word))
            known = None if held is None or not row else held[row]
            if known is not None:
                keys.append(known)
        elif hasher.words_of(key) == (topic_word, word):
            keys.append(key)
        else:
            raise DecodeError("packed.ids", f"{key} came with the hash of another key")
    if len(keys) < len(rows):
        raise KeysUnknown(len(rows) - len(keys))
    return keys
