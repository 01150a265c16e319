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
from typing import Final

import msgspec

from presence_actors.core.ids import Namespace
from presence_actors.core.messages import Said
from presence_actors.core.values import Meta
from presence_actors.core.vocabulary import (
    Diff,
    Err,
    ErrorCode,
    Ok,
    ServerMessage,
    Set,
    Snap,
    Sub,
    Unset,
)
from presence_actors.wire.identifiers import ROOM, room_topic
from presence_actors.wire.phoenix_channels import Channel, Channels, is_stale, rejoined
from presence_actors.wire.phoenix_claims import Claims, checked_meta, fields_of
from presence_actors.wire.phoenix_frames import Frame, Version, decode_frame
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.turns import Introduction, Turn

__all__ = ["PhoenixDialog"]

_CONTROL_TOPIC: Final = "phoenix"
_UNMATCHED: Final = "unmatched topic"


class PhoenixDialog:
    """One connection.

    Args:
        version: Of the framing.
        namespace: Of the client's token.
        params: The parameters of the socket's address.
        rooms: What all connections of this gateway share.
        small_frames: Whether the client takes no frame above 1 MiB.

    Raises:
        FrameRefused: A parameter cannot be taken.
    """

    def __init__(
        self,
        *,
        version: Version,
        namespace: Namespace,
        params: Mapping[str, str],
        rooms: Rooms,
        small_frames: bool = False,
    ) -> None:
        self._version = version
        self._claims = Claims.of(params)
        self._introduced = False
        self._channels = Channels(
            version=version, namespace=namespace, rooms=rooms, small_frames=small_frames
        )

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
            return self._channels.refuse(frame, _UNMATCHED)
        if is_stale(frame, channel):
            return Turn()
        match frame.event:
            case "track":
                return self._track(frame, channel)
            case "untrack":
                return self._untrack(frame, channel)
            case _:
                return self._channels.refuse(frame, f"unknown event {frame.event[:40]!r}", channel)

    def closed(self) -> None:
        """The connection is gone."""
        self._channels.forget_all()

    def _control(self, frame: Frame) -> Turn:
        if frame.event == "heartbeat":
            return self._channels.accept(frame)
        return self._channels.refuse(frame, _UNMATCHED)

    def _join(self, frame: Frame) -> Turn:
        channels = self._channels
        frame = msgspec.structs.replace(frame, join_ref=rejoined(frame))
        if not frame.topic.startswith(ROOM):
            return channels.refuse(frame, _UNMATCHED)
        try:
            room = room_topic(frame.topic)
            params = fields_of(frame.payload, "the payload of a join")
            meta = checked_meta(params.get("meta", self._claims.meta))
        except FrameRefused as refused:
            return channels.refuse(frame, refused.message)
        old = channels.get(room)
        if old is None and channels.are_full:
            return channels.refuse(frame, "too many channels joined")
        turn = Turn()
        if old is not None:
            turn.frames.append(channels.closing(old))
            channels.forget(old)
        channel = channels.open(frame.topic, room, frame.join_ref, frame.ref)
        channel.is_tracked = params.get("track") is not False
        channels.subscribe(channel)
        turn.introduction = self._introduction(room, meta)
        if channel.is_tracked:
            request = channels.ask("join", channel, frame.ref)
            turn.messages.append(Set(id=request, topic=room, meta=meta))
        elif old is not None and old.is_tracked:
            turn.messages.append(Unset(topic=room))
        request = channels.ask("join", channel, frame.ref)
        turn.messages.append(Sub(id=request, topics=[room]))
        return turn

    def _leave(self, frame: Frame, channel: Channel | None) -> Turn:
        if channel is None:
            return self._channels.accept(frame)
        if is_stale(frame, channel):
            return Turn()
        turn = self._channels.accept(frame, channel)
        turn.frames.append(self._channels.closing(channel))
        turn.messages = self._channels.give_up(channel)
        return turn

    def _track(self, frame: Frame, channel: Channel) -> Turn:
        try:
            meta = checked_meta(frame.payload)
        except FrameRefused as refused:
            return self._channels.refuse(frame, refused.message, channel)
        channel.is_tracked = True
        request = self._channels.ask("track", channel, frame.ref)
        return Turn(messages=[Set(id=request, topic=channel.room, meta=meta)])

    def _untrack(self, frame: Frame, channel: Channel) -> Turn:
        if not channel.is_tracked:
            return self._channels.accept(frame, channel)
        channel.is_tracked = False
        request = self._channels.ask("untrack", channel, frame.ref)
        return Turn(messages=[Unset(id=request, topic=channel.room)])

    def _introduction(self, room: str, meta: Meta) -> Introduction | None:
        if self._introduced:
            return None
        self._introduced = True
        return Introduction(
            family=self._claims.family(),
            device=self._claims.device,
            topic=room,
            meta=meta,
        )

    # What the machine says.

    def hear(self, message: ServerMessage) -> Turn:
        """The machine has something for this client."""
        match message:
            case Ok(id=int(request)):
                return self._channels.granted(request, joined={})
            case Err(id=int(request)):
                return self._channels.denied(request, message)
            case Err(code=ErrorCode.KICKED):
                return Turn(frames=self._channels.dismiss())
            case Snap() | Diff():
                return self._channels.told(message)
            case _:
                # Our own words for what Phoenix has none for: welcome, view, goaway, ...
                return Turn()

    def hear_said(self, _said: Said) -> Turn:
        """Nothing: no channel of this protocol listens."""
        return Turn()

    def _channel_of(self, topic: str) -> Channel | None:
        channel = self._channels.get(topic)
        if channel is not None or topic.isascii() or not topic.startswith(ROOM):
            return channel
        try:
            return self._channels.get(room_topic(topic))
        except FrameRefused:
            return None
