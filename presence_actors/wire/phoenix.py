"""One connection of a Phoenix Channels client: frames to our vocabulary, and our answers to frames.

Sans-I/O, and with a state: a socket carries up to a hundred channels, each with the `join_ref` of
its present incarnation, and every frame with a `ref` gets its reply. A channel is a room: to join
is `Set` and `Sub`, to track is `Set`, to untrack is `Unset`, to leave is `Unset` and `Unsub`. The
join is answered when the machine has granted both; the `presence_state` comes on the next tick,
like every snapshot, and the diffs behind it continue from it.

A client that remembers no session is a guest of the machine (core/guests.py). It is introduced with
its first join, since what it shows there helps to tell its tabs apart.

docs/phoenix.md says what is spoken, and what not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from presence_actors.core.ids import Namespace
from presence_actors.core.limits import ROOMS_PER_SESSION_MAX
from presence_actors.core.values import Device, Meta
from presence_actors.core.vocabulary import (
    ClientMessage,
    Diff,
    Err,
    ErrorCode,
    Ok,
    ServerMessage,
    Set,
    Snap,
    Sub,
    Unset,
    Unsub,
)
from presence_actors.wire.identifiers import ROOM, room_topic
from presence_actors.wire.phoenix_claims import Claims, checked_meta, fields_of
from presence_actors.wire.phoenix_frames import (
    Frame,
    Ref,
    Version,
    close_frame,
    decode_frame,
    error_frame,
    glue,
    reply_frame,
)
from presence_actors.wire.phoenix_presence import STATE, Rooms
from presence_actors.wire.refusals import FrameRefused

__all__ = ["CHANNELS_MAX", "Introduction", "PhoenixDialog", "Turn"]

CHANNELS_MAX: Final = ROOMS_PER_SESSION_MAX

_CONTROL_TOPIC: Final = "phoenix"
_UNMATCHED: Final = "unmatched topic"


class Introduction(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to tell which session a guest carries on."""

    family: str
    device: Device
    topic: str
    meta: Meta


class Turn(msgspec.Struct, kw_only=True):
    """What one frame, or one message, leads to; in this order."""

    #: To the client.
    frames: list[bytes] = []
    #: Before the first of the messages, once in a connection.
    introduction: Introduction | None = None
    #: To the machine.
    messages: list[ClientMessage] = []


@dataclass(slots=True, eq=False)
class _Channel:
    """One incarnation of a channel."""

    #: As the client spells it, and as we do.
    topic: str
    room: str
    join_ref: Ref
    #: Of the join, until it was answered.
    ref: Ref
    #: Grants that the join waits for.
    missing: int = 1
    is_tracked: bool = False
    #: Whether a state was sent; a diff before it has nothing that it could continue.
    is_synced: bool = False


@dataclass(slots=True)
class _Pending:
    """A message whose answer is an answer to the client."""

    kind: Literal["join", "track", "untrack"]
    channel: _Channel
    ref: Ref


class PhoenixDialog:
    """One connection.

    Args:
        version: Of the framing.
        namespace: Of the client's token.
        params: The parameters of the socket's address.
        rooms: What all connections of this gateway share.

    Raises:
        FrameRefused: A parameter cannot be taken.
    """

    def __init__(
        self, *, version: Version, namespace: Namespace, params: Mapping[str, str], rooms: Rooms
    ) -> None:
        self._version = version
        self._namespace = namespace
        self._rooms = rooms
        self._claims = Claims.of(params)
        self._introduced = False
        #: By room: all and only channels that are joined, or are being joined.
        self._channels: dict[str, _Channel] = {}
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0

    # What the client says.

    def receive(self, data: str | bytes) -> Turn:
        """A text frame came in, or a binary one as bytes.

        Raises:
            FrameRefused: It cannot even be answered.
        """
        frame = decode_frame(self._version, data)
        if frame.topic == _CONTROL_TOPIC:
            return self._control(frame)
        if frame.event == "phx_join":
            return self._join(frame)
        channel = self._channel_of(frame.topic)
        if frame.event == "phx_leave":
            return self._leave(frame, channel)
        if channel is None:
            return self._refuse(frame, _UNMATCHED)
        if _is_stale(frame, channel):
            return Turn()
        match frame.event:
            case "track":
                return self._track(frame, channel)
            case "untrack":
                return self._untrack(frame, channel)
            case _:
                return self._refuse(frame, f"unknown event {frame.event[:40]!r}", channel)

    def closed(self) -> None:
        """The connection is gone."""
        for channel in self._channels.values():
            self._rooms.release(self._namespace, channel.room)
        self._channels = {}
        self._pending = {}

    def _control(self, frame: Frame) -> Turn:
        if frame.event == "heartbeat":
            return self._accept(frame)
        return self._refuse(frame, _UNMATCHED)

    def _join(self, frame: Frame) -> Turn:
        join_ref = frame.ref if frame.join_ref is None else frame.join_ref
        frame = msgspec.structs.replace(frame, join_ref=join_ref)
        if not frame.topic.startswith(ROOM):
            return self._refuse(frame, _UNMATCHED)
        try:
            room = room_topic(frame.topic)
            params = fields_of(frame.payload, "the payload of a join")
            meta = checked_meta(params.get("meta", self._claims.meta))
        except FrameRefused as refused:
            return self._refuse(frame, refused.message)
        old = self._channels.get(room)
        if old is None and len(self._channels) >= CHANNELS_MAX:
            return self._refuse(frame, "too many channels joined")
        turn = Turn()
        if old is not None:
            turn.frames.append(close_frame(self._version, join_ref=old.join_ref, topic=old.topic))
            self._forget(old)
        channel = _Channel(frame.topic, room, join_ref, frame.ref)
        channel.is_tracked = params.get("track") is not False
        self._channels[room] = channel
        self._rooms.open(self._namespace, room)
        turn.introduction = self._introduction(room, meta)
        if channel.is_tracked:
            channel.missing += 1
            request = self._ask("join", channel, frame.ref)
            turn.messages.append(Set(id=request, topic=room, meta=meta))
        elif old is not None and old.is_tracked:
            turn.messages.append(Unset(topic=room))
        request = self._ask("join", channel, frame.ref)
        turn.messages.append(Sub(id=request, topics=[room]))
        return turn

    def _leave(self, frame: Frame, channel: _Channel | None) -> Turn:
        if channel is None:
            return self._accept(frame)
        if _is_stale(frame, channel):
            return Turn()
        turn = self._accept(frame, channel)
        turn.frames.append(
            close_frame(self._version, join_ref=channel.join_ref, topic=channel.topic)
        )
        turn.messages = self._give_up(channel)
        return turn

    def _track(self, frame: Frame, channel: _Channel) -> Turn:
        try:
            meta = checked_meta(frame.payload)
        except FrameRefused as refused:
            return self._refuse(frame, refused.message, channel)
        channel.is_tracked = True
        request = self._ask("track", channel, frame.ref)
        return Turn(messages=[Set(id=request, topic=channel.room, meta=meta)])

    def _untrack(self, frame: Frame, channel: _Channel) -> Turn:
        if not channel.is_tracked:
            return self._accept(frame, channel)
        channel.is_tracked = False
        request = self._ask("untrack", channel, frame.ref)
        return Turn(messages=[Unset(id=request, topic=channel.room)])

    def _introduction(self, room: str, meta: Meta) -> Introduction | None:
        if self._introduced:
            return None
        self._introduced = True
        return Introduction(
            family=self._claims.family,
            device=self._claims.device,
            topic=room,
            meta=meta,
        )

    # What the machine says.

    def hear(self, message: ServerMessage) -> Turn:
        """The machine has something for this client."""
        match message:
            case Ok(id=int(request)):
                return self._granted(request)
            case Err(id=int(request)):
                return self._denied(request, message)
            case Snap() | Diff():
                return self._told(message)
            case _:
                # Our own words for what Phoenix has none for: welcome, view, goaway, ...
                return Turn()

    def _granted(self, request: int) -> Turn:
        pending = self._pending.pop(request, None)
        if pending is None:
            return Turn()
        channel = pending.channel
        if pending.kind == "join":
            channel.missing -= 1
            if channel.missing:
                return Turn()
        return Turn(frames=self._reply(channel, pending.ref, "ok", {}))

    def _denied(self, request: int, refusal: Err) -> Turn:
        pending = self._pending.pop(request, None)
        if pending is None:
            return Turn()
        channel = pending.channel
        if pending.kind == "untrack" and refusal.code is ErrorCode.NOT_JOINED:
            return Turn(frames=self._reply(channel, pending.ref, "ok", {}))
        response = {"reason": refusal.message}
        turn = Turn(frames=self._reply(channel, pending.ref, "error", response))
        if pending.kind == "join":
            turn.messages = self._give_up(channel)
        return turn

    def _told(self, message: Snap | Diff) -> Turn:
        channel = self._channels.get(message.topic)
        if channel is None:
            return Turn()
        pushed = self._rooms.push(
            self._namespace, message, version=self._version, topic=channel.topic
        )
        if pushed is None:
            return Turn()
        event, shared = pushed
        if event == STATE:
            channel.is_synced = True
        elif not channel.is_synced:
            # It continues a state that this client never had: let it come again for one.
            turn = Turn(
                frames=[
                    error_frame(
                        self._version,
                        join_ref=channel.join_ref,
                        topic=channel.topic,
                        reason="out of step",
                    )
                ]
            )
            turn.messages = self._give_up(channel)
            return turn
        return Turn(frames=[glue(self._version, channel.join_ref, shared)])

    # Small things.

    def _channel_of(self, topic: str) -> _Channel | None:
        channel = self._channels.get(topic)
        if channel is not None or topic.isascii() or not topic.startswith(ROOM):
            return channel
        try:
            return self._channels.get(room_topic(topic))
        except FrameRefused:
            return None

    def _ask(self, kind: Literal["join", "track", "untrack"], channel: _Channel, ref: Ref) -> int:
        self._last_id += 1
        self._pending[self._last_id] = _Pending(kind, channel, ref)
        return self._last_id

    def _give_up(self, channel: _Channel) -> list[ClientMessage]:
        """The channel is no more; what the machine is to be told."""
        self._forget(channel)
        messages: list[ClientMessage] = [Unsub(topics=[channel.room])]
        if channel.is_tracked:
            messages.insert(0, Unset(topic=channel.room))
        return messages

    def _forget(self, channel: _Channel) -> None:
        del self._channels[channel.room]
        self._rooms.release(self._namespace, channel.room)
        self._pending = {
            request: pending
            for request, pending in self._pending.items()
            if pending.channel is not channel
        }

    def _reply(
        self, channel: _Channel, ref: Ref, status: str, response: dict[str, str]
    ) -> list[bytes]:
        if ref is None:
            return []
        frame = reply_frame(
            self._version,
            join_ref=channel.join_ref,
            ref=ref,
            topic=channel.topic,
            status=status,
            response=response,
        )
        return [frame]

    def _accept(self, frame: Frame, channel: _Channel | None = None) -> Turn:
        return self._answer(frame, "ok", {}, channel)

    def _refuse(self, frame: Frame, reason: str, channel: _Channel | None = None) -> Turn:
        # Nobody waits for an answer to a frame without a ref.
        if frame.ref is None:
            return Turn()
        return self._answer(frame, "error", {"reason": reason}, channel)

    def _answer(
        self, frame: Frame, status: str, response: dict[str, str], channel: _Channel | None
    ) -> Turn:
        answer = reply_frame(
            self._version,
            join_ref=frame.join_ref if channel is None else channel.join_ref,
            ref=frame.ref,
            topic=frame.topic,
            status=status,
            response=response,
        )
        return Turn(frames=[answer])


def _is_stale(frame: Frame, channel: _Channel) -> bool:
    """Whether the frame was meant for an earlier incarnation of the channel."""
    return frame.join_ref is not None and str(frame.join_ref) != str(channel.join_ref)
