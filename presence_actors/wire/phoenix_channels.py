"""The channels of one connection: incarnations, what they wait for, and the frames of both.

Phoenix Channels and Supabase's dialect of it have these in common. What a push means is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from presence_actors.core.ids import Namespace
from presence_actors.core.limits import ROOMS_PER_SESSION_MAX
from presence_actors.core.vocabulary import (
    ClientMessage,
    Diff,
    Err,
    ErrorCode,
    Snap,
    Talk,
    Unlisten,
    Unset,
    Unsub,
)
from presence_actors.wire.phoenix_frames import (
    Frame,
    Ref,
    Version,
    close_frame,
    error_frame,
    glue,
    reply_frame,
)
from presence_actors.wire.phoenix_presence import STATE, Rooms
from presence_actors.wire.turns import Turn

__all__ = ["CHANNELS_MAX", "Channel", "Channels", "is_stale", "rejoined"]

CHANNELS_MAX: Final = ROOMS_PER_SESSION_MAX

#: What a client is told with an "ok" that says it all.
_NOTHING: Final[object] = {}

Kind = Literal["join", "track", "untrack", "broadcast"]


@dataclass(slots=True, eq=False)
class Channel:
    """One incarnation of a channel."""

    #: As the client spells it, and as we do.
    topic: str
    room: str
    join_ref: Ref
    #: Of the join, until it was answered.
    ref: Ref
    #: Grants that the join waits for.
    missing: int = 0
    #: Whether it shows itself in the room, hears who is there, and hears what is said.
    is_tracked: bool = False
    is_subscribed: bool = False
    is_listening: bool = False
    #: Whether a state was sent; a diff before it has nothing that it could continue.
    is_synced: bool = False
    #: Whether its broadcasts are answered, and whether it hears them itself.
    wants_acks: bool = False
    wants_echoes: bool = False


@dataclass(slots=True)
class _Pending:
    """A message whose answer is an answer to the client."""

    kind: Kind
    channel: Channel
    ref: Ref


class Channels:
    """The channels of one connection.

    Args:
        version: Of the framing.
        namespace: Of the client's token.
        rooms: What all connections of this gateway share.
        small_frames: Whether the client takes no frame above 1 MiB.
    """

    def __init__(
        self, *, version: Version, namespace: Namespace, rooms: Rooms, small_frames: bool = False
    ) -> None:
        self.version = version
        self._small_frames = small_frames
        self.namespace = namespace
        self._rooms = rooms
        #: By room: all and only channels that are joined, or are being joined.
        self._channels: dict[str, Channel] = {}
        self._pending: dict[int, _Pending] = {}
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._channels)

    def get(self, room: str) -> Channel | None:
        """The channel of a room."""
        return self._channels.get(room)

    @property
    def are_full(self) -> bool:
        """Whether there can be no further one."""
        return len(self._channels) >= CHANNELS_MAX

    # Their lives.

    def open(self, topic: str, room: str, join_ref: Ref, ref: Ref) -> Channel:
        """A new incarnation."""
        channel = self._channels[room] = Channel(topic, room, join_ref, ref)
        return channel

    def subscribe(self, channel: Channel) -> None:
        """It hears who is in the room from now on; its picture begins with the next state."""
        channel.is_subscribed = True
        self._rooms.open(self.namespace, channel.room)

    def give_up(self, channel: Channel) -> list[ClientMessage | Talk]:
        """The channel is no more; what the machine is to be told."""
        messages: list[ClientMessage | Talk] = []
        if channel.is_tracked:
            messages.append(Unset(topic=channel.room))
        if channel.is_subscribed:
            messages.append(Unsub(topics=[channel.room]))
        if channel.is_listening:
            messages.append(Unlisten(topic=channel.room))
        self.forget(channel)
        return messages

    def forget(self, channel: Channel) -> None:
        """The channel is no more."""
        del self._channels[channel.room]
        if channel.is_subscribed:
            self._rooms.release(self.namespace, channel.room)
        self._pending = {
            request: pending
            for request, pending in self._pending.items()
            if pending.channel is not channel
        }

    def dismiss(self) -> list[bytes]:
        """All of them are closed for good: no client joins such a one again by itself."""
        frames = [self.closing(channel) for channel in self._channels.values()]
        self.forget_all()
        return frames

    def forget_all(self) -> None:
        """The connection is gone."""
        for channel in list(self._channels.values()):
            self.forget(channel)

    # What they wait for.

    def ask(self, kind: Kind, channel: Channel, ref: Ref) -> int:
        """A number for a message; its answer is the answer to this ref."""
        self._last_id += 1
        self._pending[self._last_id] = _Pending(kind, channel, ref)
        if kind == "join":
            channel.missing += 1
        return self._last_id

    def granted(self, request: int, *, joined: object) -> Turn:
        """The machine did what this message asked; `joined` is what a join is told."""
        pending = self._pending.pop(request, None)
        if pending is None:
            return Turn()
        channel, response = pending.channel, _NOTHING
        if pending.kind == "join":
            channel.missing -= 1
            if channel.missing:
                return Turn()
            response = joined
        return Turn(frames=self.reply(channel, pending.ref, "ok", response))

    def denied(self, request: int, refusal: Err) -> Turn:
        """It did not; a channel that could not be joined is no more."""
        pending = self._pending.pop(request, None)
        if pending is None:
            return Turn()
        channel = pending.channel
        if pending.kind == "untrack" and refusal.code is ErrorCode.NOT_JOINED:
            return Turn(frames=self.reply(channel, pending.ref, "ok", {}))
        turn = Turn(frames=self.reply(channel, pending.ref, "error", {"reason": refusal.message}))
        if pending.kind == "join":
            turn.messages = self.give_up(channel)
        return turn

    # Frames.

    def told(self, message: Snap | Diff) -> Turn:
        """The machine told something of a room."""
        channel = self._channels.get(message.topic)
        if channel is None or not channel.is_subscribed:
            return Turn()
        pushes = self._rooms.push(
            self.namespace,
            message,
            version=self.version,
            topic=channel.topic,
            small=self._small_frames,
        )
        if pushes and pushes[0][0] == STATE:
            channel.is_synced = True
        elif pushes and not channel.is_synced:
            # It continues a state that this client never had: let it come again for one.
            frame = error_frame(
                self.version, join_ref=channel.join_ref, topic=channel.topic, reason="out of step"
            )
            return Turn(frames=[frame], messages=self.give_up(channel))
        return Turn(frames=[glue(self.version, channel.join_ref, shared) for _, shared in pushes])

    def closing(self, channel: Channel) -> bytes:
        """The frame that dismisses a channel for good."""
        return close_frame(self.version, join_ref=channel.join_ref, topic=channel.topic)

    def reply(self, channel: Channel, ref: Ref, status: str, response: object) -> list[bytes]:
        """The answer to a frame that was taken, if anybody waits for it."""
        if ref is None:
            return []
        frame = reply_frame(
            self.version,
            join_ref=channel.join_ref,
            ref=ref,
            topic=channel.topic,
            status=status,
            response=response,
        )
        return [frame]

    def accept(self, frame: Frame, channel: Channel | None = None) -> Turn:
        """It is done, at once."""
        return self._answer(frame, "ok", {}, channel)

    def refuse(self, frame: Frame, reason: str, channel: Channel | None = None) -> Turn:
        """It is not done; nobody waits for an answer to a frame without a ref."""
        if frame.ref is None:
            return Turn()
        return self._answer(frame, "error", {"reason": reason}, channel)

    def _answer(
        self, frame: Frame, status: str, response: dict[str, str], channel: Channel | None
    ) -> Turn:
        answer = reply_frame(
            self.version,
            join_ref=frame.join_ref if channel is None else channel.join_ref,
            ref=frame.ref,
            topic=frame.topic,
            status=status,
            response=response,
        )
        return Turn(frames=[answer])


def is_stale(frame: Frame, channel: Channel) -> bool:
    """Whether the frame was meant for an earlier incarnation of the channel."""
    return frame.join_ref is not None and str(frame.join_ref) != str(channel.join_ref)


def rejoined(frame: Frame) -> Ref:
    """The ref of the incarnation that a join begins."""
    return frame.ref if frame.join_ref is None else frame.join_ref
