"""Rooms as Phoenix clients see them: keys with metas, states and netted diffs.

A meta's `phx_ref` is a digest of the entry's ref and of what is shown of it. So it is the same at
every gateway and after every reconnect; a change gives a new one; and a change that is taken back
gives the old one again. A diff has the new metas in `joins` and the old ones in `leaves`, and no
ref in both: the stock client applies leaves last, and would lose it.

All subscribers of a gateway hear the same frames of a room in the same order, so one picture per
room serves them all. It begins with a snapshot and ends with the last subscriber.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import Diff, Entry, Snap
from presence_actors.wire.phoenix_frames import Version, tail

__all__ = ["DIFF", "STATE", "Rooms", "cleaned", "phx_ref", "presence_key"]

STATE: Final = "presence_state"
DIFF: Final = "presence_diff"

_REF_PREFIX: Final = "phx_ref"
_ESCAPE: Final = "~"
#: Names that every JavaScript object has: as keys they throw in the handlers of older clients.
_PROTOTYPE_NAMES: Final = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)

_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def presence_key(user: UserId) -> str:
    """The key under which a user's metas stand; differs from the user's name only where it must.

    >>> presence_key(UserId("alice")), presence_key(UserId("constructor"))
    ('alice', '~constructor')
    """
    return _ESCAPE + user if user.lstrip(_ESCAPE) in _PROTOTYPE_NAMES else str(user)


def cleaned(meta: Meta) -> Meta:
    """A meta without what only the server may say.

    >>> cleaned({"mood": "fine", "phx_ref": "forged", "phx_ref_prev": "forged"})
    {'mood': 'fine'}
    """
    return {name: value for name, value in meta.items() if not name.startswith(_REF_PREFIX)}


def phx_ref(entry: Entry) -> str:
    """The name of what is shown of an entry now."""
    shown = _ENCODER.encode([entry.ref, entry.status, entry.device, cleaned(entry.meta)])
    return hashlib.blake2b(shown, digest_size=9).hexdigest()


class _Shown(msgspec.Struct, frozen=True):
    """One entry as it was told."""

    key: str
    since: int
    ref: str
    meta: Meta

    def encode(self, previous: str | None = None) -> bytes:
        """The meta as JSON."""
        refs = {"phx_ref": self.ref}
        if previous is not None:
            refs["phx_ref_prev"] = previous
        return _ENCODER.encode({**self.meta, **refs})


def _shown(entry: Entry) -> _Shown:
    # What the application says itself wins over what the gateway knows of the device.
    meta = {"status": entry.status, "device": entry.device, **cleaned(entry.meta)}
    return _Shown(presence_key(entry.key), entry.since, phx_ref(entry), meta)


class _Room:
    """One room, as all subscribers of this gateway know it."""

    def __init__(self) -> None:
        self.subscribers = 0
        #: By the ref of the entry.
        self.shown: dict[str, _Shown] = {}
        self._gathered: dict[str, _Shown] = {}
        #: The message that was taken in last, and what it makes: event and payload, if any.
        self._last: Snap | Diff | None = None
        self._made: tuple[str, bytes] | None = None
        self._tails: dict[tuple[Version, str], bytes] = {}

    def take(self, message: Snap | Diff) -> tuple[str, bytes] | None:
        """The push that a message makes; taken in once, however many subscribers hear it."""
        if message is not self._last:
            self._last = message
            self._tails = {}
            self._made = self._snap(message) if isinstance(message, Snap) else self._diff(message)
        return self._made

    def tail(self, version: Version, topic: str) -> bytes | None:
        """The shared part of that push, for subscribers that spell the topic so."""
        if self._made is None:
            return None
        shared = self._tails.get((version, topic))
        if shared is None:
            event, payload = self._made
            shared = self._tails[version, topic] = tail(
                version, topic=topic, event=event, payload=payload
            )
        return shared

    def _snap(self, snap: Snap) -> tuple[str, bytes] | None:
        if snap.part == 0:
            self._gathered = {}
        self._gathered.update({entry.ref: _shown(entry) for entry in snap.state})
        if not snap.last:
            return None
        self.shown, self._gathered = self._gathered, {}
        return STATE, self._state()

    def _diff(self, diff: Diff) -> tuple[str, bytes] | None:
        joins: dict[str, list[bytes]] = {}
        leaves: dict[str, list[bytes]] = {}
        for entry in (*diff.joins, *diff.updates):
            new, old = _shown(entry), self.shown.get(entry.ref)
            self.shown[entry.ref] = new
            if old is None:
                joins.setdefault(new.key, []).append(new.encode())
            elif old.ref != new.ref:
                joins.setdefault(new.key, []).append(new.encode(old.ref))
                leaves.setdefault(old.key, []).append(old.encode())
        for leave in diff.leaves:
            gone = self.shown.pop(leave.ref, None)
            if gone is not None:
                leaves.setdefault(gone.key, []).append(gone.encode())
        if diff.resumed:
            return STATE, self._state()
        if not joins and not leaves:
            return None
        return DIFF, b'{"joins":' + _presences(joins) + b',"leaves":' + _presences(leaves) + b"}"

    def _state(self) -> bytes:
        presences: dict[str, list[bytes]] = {}
        for shown in sorted(self.shown.values(), key=lambda shown: (shown.since, shown.ref)):
            presences.setdefault(shown.key, []).append(shown.encode())
        return _presences(presences)


class Rooms:
    """The pictures of all rooms that Phoenix clients of one gateway are in."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[Namespace, str], _Room] = {}

    def __len__(self) -> int:
        return len(self._rooms)

    def open(self, namespace: Namespace, room: str) -> None:
        """One subscriber more."""
        self._rooms.setdefault((namespace, room), _Room()).subscribers += 1

    def release(self, namespace: Namespace, room: str) -> None:
        """One subscriber less; with the last one, what is known of the room goes."""
        picture = self._rooms[namespace, room]
        picture.subscribers -= 1
        if picture.subscribers == 0:
            del self._rooms[namespace, room]

    def push(
        self, namespace: Namespace, message: Snap | Diff, *, version: Version, topic: str
    ) -> tuple[str, bytes] | None:
        """The event that a message makes and its shared part; None if there is nothing to say."""
        picture = self._rooms[namespace, message.topic]
        made = picture.take(message)
        shared = picture.tail(version, topic)
        return None if made is None or shared is None else (made[0], shared)


def _presences(presences: dict[str, list[bytes]]) -> bytes:
    pieces = [
        _ENCODER.encode(key) + b':{"metas":[' + b",".join(metas) + b"]}"
        for key, metas in presences.items()
    ]
    return b"{" + b",".join(pieces) + b"}"
