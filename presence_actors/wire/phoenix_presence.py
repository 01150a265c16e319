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
from collections.abc import Iterable
from typing import Final

import msgspec

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import Diff, Entry, Snap
from presence_actors.wire.phoenix_frames import Version, tail

__all__ = [
    "DIFF",
    "SMALL_FRAME_BYTES_MAX",
    "STATE",
    "Rooms",
    "cleaned",
    "phx_ref",
    "presence_key",
]

STATE: Final = "presence_state"
DIFF: Final = "presence_diff"
#: What stands in the frames of clients that take none above 1 MiB: the rest is for the envelope.
SMALL_FRAME_BYTES_MAX: Final = 1000 * 1024
#: What a change costs besides its keys and metas.
_CHANGE_BYTES: Final = 32

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


class _Change(msgspec.Struct, frozen=True):
    """What happened to one key: a meta that came, one that went, or one in the place of another."""

    key: str
    came: bytes | None = None
    went: bytes | None = None

    @property
    def size(self) -> int:
        """About how many bytes it takes in a frame."""
        return _CHANGE_BYTES + 2 * len(self.key) + len(self.came or b"") + len(self.went or b"")


class _Made(msgspec.Struct, frozen=True):
    """What a message makes."""

    is_state: bool
    changes: list[_Change]

    def pushes(self, *, small: bool) -> list[tuple[str, bytes]]:
        """Events and payloads; a single one unless the frames have to be small.

        A state in parts is a state of the first of its metas, and then diffs in which the others
        come. To a client that has a state already it looks as if those had been away.
        """
        parts = _parts(self.changes) if small else [self.changes]
        found = [(DIFF, _diff_of(part)) for part in parts]
        if self.is_state:
            found[0] = (STATE, _presences((one.key, one.came) for one in parts[0]))
        return found


class _Room:
    """One room, as all subscribers of this gateway know it."""

    def __init__(self) -> None:
        self.subscribers = 0
        #: By the ref of the entry.
        self.shown: dict[str, _Shown] = {}
        self._gathered: dict[str, _Shown] = {}
        #: The message that was taken in last, and what it makes, if anything.
        self._last: Snap | Diff | None = None
        self._made: _Made | None = None
        self._tails: dict[tuple[Version, str, bool], list[tuple[str, bytes]]] = {}

    def take(self, message: Snap | Diff) -> None:
        """Takes a message in; once, however many subscribers hear it."""
        if message is not self._last:
            self._last = message
            self._tails = {}
            self._made = self._snap(message) if isinstance(message, Snap) else self._diff(message)

    def tails(self, version: Version, topic: str, *, small: bool) -> list[tuple[str, bytes]]:
        """The shared parts of what it makes, for subscribers that spell the topic so."""
        if self._made is None:
            return []
        shared = self._tails.get((version, topic, small))
        if shared is None:
            shared = self._tails[version, topic, small] = [
                (event, tail(version, topic=topic, event=event, payload=payload))
                for event, payload in self._made.pushes(small=small)
            ]
        return shared

    def _snap(self, snap: Snap) -> _Made | None:
        if snap.part == 0:
            self._gathered = {}
        self._gathered.update({entry.ref: _shown(entry) for entry in snap.state})
        if not snap.last:
            return None
        self.shown, self._gathered = self._gathered, {}
        return self._state()

    def _diff(self, diff: Diff) -> _Made | None:
        changes: list[_Change] = []
        for entry in (*diff.joins, *diff.updates):
            new, old = _shown(entry), self.shown.get(entry.ref)
            self.shown[entry.ref] = new
            if old is None:
                changes.append(_Change(new.key, came=new.encode()))
            elif old.ref != new.ref:
                changes.append(_Change(new.key, came=new.encode(old.ref), went=old.encode()))
        for leave in diff.leaves:
            gone = self.shown.pop(leave.ref, None)
            if gone is not None:
                changes.append(_Change(gone.key, went=gone.encode()))
        if diff.resumed:
            return self._state()
        return _Made(is_state=False, changes=changes) if changes else None

    def _state(self) -> _Made:
        shown = sorted(self.shown.values(), key=lambda shown: (shown.since, shown.ref))
        return _Made(is_state=True, changes=[_Change(one.key, came=one.encode()) for one in shown])


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
        self,
        namespace: Namespace,
        message: Snap | Diff,
        *,
        version: Version,
        topic: str,
        small: bool = False,
    ) -> list[tuple[str, bytes]]:
        """The events that a message makes and their shared parts.

        With `small`, of at most `SMALL_FRAME_BYTES_MAX` bytes each.
        """
        picture = self._rooms[namespace, message.topic]
        picture.take(message)
        return picture.tails(version, topic, small=small)


def _parts(changes: list[_Change]) -> list[list[_Change]]:
    parts: list[list[_Change]] = [[]]
    size = 0
    for change in changes:
        size += change.size
        if size > SMALL_FRAME_BYTES_MAX and parts[-1]:
            parts.append([])
            size = change.size
        parts[-1].append(change)
    return parts


def _diff_of(changes: list[_Change]) -> bytes:
    joins = _presences((one.key, one.came) for one in changes)
    leaves = _presences((one.key, one.went) for one in changes)
    return b'{"joins":' + joins + b',"leaves":' + leaves + b"}"


def _presences(found: Iterable[tuple[str, bytes | None]]) -> bytes:
    presences: dict[str, list[bytes]] = {}
    for key, meta in found:
        if meta is not None:
            presences.setdefault(key, []).append(meta)
    pieces = [
        _ENCODER.encode(key) + b':{"metas":[' + b",".join(metas) + b"]}"
        for key, metas in presences.items()
    ]
    return b"{" + b",".join(pieces) + b"}"
