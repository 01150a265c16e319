"""What the opaque value of a row holds, and its status byte.

The map under `crdt/` carries a status byte and bytes; only this module knows what they mean.

========  =======================  =========================================
key       status byte              value
========  =======================  =========================================
session   `EntryStatus` + flags    `EntryValue`
removed   0                        `EndValue`: why it ended
intent    1                        `IntentValue` (durable map)
last seen 1                        `LastSeenValue` (durable map)
========  =======================  =========================================
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from presence_actors.core.instants import WallMs

__all__ = [
    "HIDDEN",
    "INTENT_KEY",
    "LAST_SEEN_KEY",
    "Device",
    "EndValue",
    "EntryStatus",
    "EntryValue",
    "IntentStatus",
    "IntentValue",
    "LastSeenValue",
    "LeaveReason",
    "Meta",
    "decode_end",
    "decode_entry",
    "decode_intent",
    "decode_last_seen",
    "encode_value",
    "entry_status",
    "is_hidden",
    "pack_status",
    "settle_status",
]

Meta = dict[str, object]
Device = str

#: The `session` part of the keys of a user's two durable records.
INTENT_KEY: Final = "intent"
LAST_SEEN_KEY: Final = "last_seen"

#: Flag in a live row's status byte: its user chose to be invisible; every view skips it.
HIDDEN: Final = 0x40
#: Flag in a row on its way to a replica: whether its user is invisible is not known here. The
#: replica takes the flag of the entry that it holds; without one it hides, since a wrong guess must
#: not show anybody.
UNSURE: Final = 0x20
_STATUS_MASK: Final = 0x0F


class EntryStatus(enum.IntEnum):
    """What one device shows. Greater is more available, and wins the fold (dnd before all)."""

    AWAY = 1
    ONLINE = 2
    DND = 3

    @property
    def word(self) -> str:
        """The status as clients spell it."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> EntryStatus | None:
        """The status that a client spelt, or None."""
        return _BY_WORD.get(word)


_BY_WORD: Final = {status.name.lower(): status for status in EntryStatus}


class IntentStatus(enum.StrEnum):
    """What a user chose to show, on all devices. The empty word means no choice."""

    NONE = ""
    AWAY = "away"
    DND = "dnd"
    INVISIBLE = "invisible"


class LeaveReason(enum.StrEnum):
    """Why an entry ended. Reaches subscribers."""

    LEFT = "left"
    TIMEOUT = "timeout"
    REPLACED = "replaced"
    KICKED = "kicked"
    GATEWAY_LOST = "gateway_lost"
    RETIRED = "retired"
    ERASED = "erased"


class EntryValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One session in one topic."""

    since: WallMs
    device: Device
    meta: Meta


class EndValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The end of one session in one topic."""

    reason: str
    #: Whether nobody could see the entry when it ended, so that nobody must be told of its end.
    hidden: bool = False


class IntentValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a user chose; empty words where nothing was chosen."""

    status: str
    text: str
    emoji: str
    #: When the choice ends by itself, or None.
    until: WallMs | None


class LastSeenValue(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When the last device of a user went."""

    at: WallMs


_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
_ENTRY: Final = msgspec.msgpack.Decoder(EntryValue)
_END: Final = msgspec.msgpack.Decoder(EndValue)
_INTENT: Final = msgspec.msgpack.Decoder(IntentValue)
_LAST_SEEN: Final = msgspec.msgpack.Decoder(LastSeenValue)


def encode_value(value: EntryValue | EndValue | IntentValue | LastSeenValue) -> bytes:
    """The bytes of a value; equal values have equal bytes."""
    return _ENCODER.encode(value)


def decode_entry(value: bytes) -> EntryValue:
    """The value of a live session row."""
    return _ENTRY.decode(value)


def decode_end(value: bytes) -> EndValue:
    """The value of a removed row."""
    return _END.decode(value)


def decode_intent(value: bytes) -> IntentValue:
    """The value of an intent record."""
    return _INTENT.decode(value)


def decode_last_seen(value: bytes) -> LastSeenValue:
    """The value of a last-seen record."""
    return _LAST_SEEN.decode(value)


def pack_status(status: EntryStatus, *, hidden: bool = False, unsure: bool = False) -> int:
    """The status byte of a live row.

    >>> entry_status(pack_status(EntryStatus.AWAY, hidden=True))
    <EntryStatus.AWAY: 1>
    """
    return int(status) | (HIDDEN if hidden else 0) | (UNSURE if unsure else 0)


def settle_status(packed: int, held: int | None) -> int:
    """The status byte to be kept, given that of the live entry it replaces, if there is one.

    >>> new = pack_status(EntryStatus.AWAY, unsure=True)
    >>> is_hidden(settle_status(new, None)), is_hidden(settle_status(new, 2))
    (True, False)
    """
    if not packed & UNSURE:
        return packed
    return packed & ~(UNSURE | HIDDEN) | (HIDDEN if held is None else held & HIDDEN)


def entry_status(packed: int) -> EntryStatus:
    """The status in a status byte."""
    return EntryStatus(packed & _STATUS_MASK)


def is_hidden(packed: int) -> bool:
    """Whether the row's user chose to be invisible."""
    return bool(packed & HIDDEN)
