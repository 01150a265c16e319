"""One connection of a Supabase Realtime client: Phoenix channels with events of their own.

::

    phx_join      params.config: presence, broadcast, postgres_changes
    presence      track (Set), untrack (Unset)
    broadcast     said to all who listen in the room (Broadcast)
    access_token  a newer token

A channel listens from its join on, and hears who is in the room unless it says that it does not
want to. It shows itself when it tracks, and not before. A topic `realtime:lobby` is the room
`room:lobby` of everybody else.

The key under which a client shows itself is the user of its token. The `key` of its config is what
this device is known by when it comes back (core/guests.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol, cast

import msgspec

from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import (
    Broadcast,
    Diff,
    Err,
    ErrorCode,
    Identity,
    Listen,
    Ok,
    ServerMessage,
    Set,
    Snap,
    Sub,
    Unset,
)
from presence_actors.wire.identifiers import room_topic
from presence_actors.wire.phoenix_channels import Channel, Channels, is_stale, rejoined
from presence_actors.wire.phoenix_claims import Claims, checked_meta, fields_of
from presence_actors.wire.phoenix_frames import (
    BROADCAST,
    Frame,
    Version,
    decode_frame,
    encode_json,
    glue,
    tail,
)
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.supabase_talk import PREFIX, Hall, spoken
from presence_actors.wire.turns import Introduction, Turn

__all__ = ["SupabaseDialog", "Verify", "is_key", "room_of"]

_KEY_PREFIXES: Final = ("sb_publishable_", "sb_secret_")
_CONTROL_TOPIC: Final = "phoenix"
_UNMATCHED: Final = "unmatched topic"
_GRANTED: Final[dict[str, list[object]]] = {"postgres_changes": []}
_NO_CHANGES: Final = "postgres_changes are not spoken here: this gateway has no database"
_NO_REPLAY: Final = "replay is not spoken here: broadcasts are kept nowhere"


class Verify(Protocol):
    """Tells who the bearer of a token is; raises `FrameRefused`."""

    def __call__(self, token: str) -> Identity:
        """Who it is."""
        ...


def room_of(topic: str) -> str:
    """The room of a channel's topic.

    >>> room_of("realtime:lobby")
    'room:lobby'

    Raises:
        FrameRefused: It is the topic of no room.
    """
    if not topic.startswith(PREFIX):
        raise FrameRefused(ErrorCode.NOT_JOINED, _UNMATCHED)
    return room_topic(topic.removeprefix(PREFIX))


def is_key(token: str) -> bool:
    """Whether it is a key of a project, which says nothing of a user."""
    return token.startswith(_KEY_PREFIXES)


class _Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a join asks for."""

    hears_presence: bool
    key: str
    wants_acks: bool
    wants_echoes: bool
    token: str | None


class SupabaseDialog:
    """One connection.

    Args:
        version: Of the framing.
        identity: Who it is, by the token with which it connected.
        params: The parameters of the socket's address.
        rooms: What all connections of this gateway share, with those of Phoenix.
        hall: What all connections of this gateway share.
        verify: Tells who the bearer of a newer token is.
        small_frames: Whether the client takes no frame above 1 MiB.

    Raises:
        FrameRefused: A parameter cannot be taken.
    """

    def __init__(
        self,
        *,
        version: Version,
        identity: Identity,
        params: Mapping[str, str],
        rooms: Rooms,
        hall: Hall,
        verify: Verify,
        small_frames: bool = False,
    ) -> None:
        self._version = version
        self._identity = identity
        self._token = params.get("apikey", "")
        self._claims = Claims.of(params)
        self._hall = hall
        self._verify = verify
        self._introduced = False
        self._channels = Channels(
            version=version,
            namespace=identity.namespace,
            rooms=rooms,
            small_frames=small_frames,
        )

    # What the client says.

    def receive(self, data: str | bytes) -> Turn:
        """A text frame came in, or a binary one as bytes.

        Raises:
            FrameRefused: It cannot even be answered.
        """
        frame = decode_frame(self._version, data)
        if frame.topic == _CONTROL_TOPIC:
            if frame.event == "heartbeat":
                return self._heartbeat(frame)
            return self._channels.refuse(frame, _UNMATCHED)
        if frame.event == "phx_join":
            return self._join(frame)
        channel = self._channel_of(frame.topic)
        if frame.event == "phx_leave":
            return self._leave(frame, channel)
        if channel is None:
            return self._channels.refuse(frame, _UNMATCHED)
        if is_stale(frame, channel):
            return Turn()
        try:
            return self._push(frame, channel)
        except FrameRefused as refused:
            return self._channels.refuse(frame, refused.message, channel)

    def closed(self) -> None:
        """The connection is gone."""
        self._channels.forget_all()

    def _heartbeat(self, frame: Frame) -> Turn:
        # Python's client sends no ref, and waits for an answer with none.
        return self._channels.accept(frame)

    def _push(self, frame: Frame, channel: Channel) -> Turn:
        match frame.event:
            case "presence":
                return self._presence(frame, channel)
            case "broadcast":
                return self._broadcast(frame, channel)
            case "access_token":
                return self._access_token(frame, channel)
            case _:
                return self._channels.refuse(frame, f"unknown event {frame.event[:40]!r}", channel)

    def _join(self, frame: Frame) -> Turn:
        channels = self._channels
        frame = msgspec.structs.replace(frame, join_ref=rejoined(frame))
        turn = Turn()
        try:
            room = room_of(frame.topic)
            config = _config(frame.payload)
            old = channels.get(room)
            if old is None and channels.are_full:
                return channels.refuse(frame, "too many channels joined")
            self._renew(config.token, turn)
        except FrameRefused as refused:
            return channels.refuse(frame, refused.message)
        if old is not None:
            turn.frames.append(channels.closing(old))
            turn.messages += channels.give_up(old)
        channel = channels.open(frame.topic, room, frame.join_ref, frame.ref)
        channel.wants_acks, channel.wants_echoes = config.wants_acks, config.wants_echoes
        turn.introduction = self._introduction(room, config.key)
        channel.is_listening = True
        turn.messages.append(Listen(id=channels.ask("join", channel, frame.ref), topic=room))
        if config.hears_presence:
            channels.subscribe(channel)
            turn.messages.append(Sub(id=channels.ask("join", channel, frame.ref), topics=[room]))
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

    def _presence(self, frame: Frame, channel: Channel) -> Turn:
        fields = fields_of(frame.payload, "the payload of presence")
        channels = self._channels
        match str(fields.get("event")).lower():
            case "track":
                meta = checked_meta(fields.get("payload", {}))
                turn = Turn()
                if not channel.is_subscribed:
                    channels.subscribe(channel)
                    turn.messages.append(Sub(topics=[channel.room]))
                channel.is_tracked = True
                request = channels.ask("track", channel, frame.ref)
                turn.messages.append(Set(id=request, topic=channel.room, meta=meta))
                return turn
            case "untrack" if channel.is_tracked:
                channel.is_tracked = False
                request = channels.ask("untrack", channel, frame.ref)
                return Turn(messages=[Unset(id=request, topic=channel.room)])
            case "untrack":
                return channels.accept(frame, channel)
            case _:
                return channels.refuse(frame, "presence has the events track and untrack", channel)

    def _broadcast(self, frame: Frame, channel: Channel) -> Turn:
        said = spoken(frame.payload, topic=channel.topic)
        request: int | None = None
        if channel.wants_acks and frame.ref is not None:
            request = self._channels.ask("broadcast", channel, frame.ref)
        word = Broadcast(
            topic=channel.room,
            event=said.event,
            payload=said.payload,
            binary=said.binary,
            echo=channel.wants_echoes,
            id=request,
        )
        return Turn(messages=[word])

    def _access_token(self, frame: Frame, channel: Channel) -> Turn:
        """A newer token; nobody waits for an answer. A bad one ends the channel, and says why."""
        fields = fields_of(frame.payload, "the payload of access_token")
        turn = Turn()
        try:
            self._renew(_token(fields), turn)
        except FrameRefused as refused:
            turn.frames += self._dismissal(channel, refused.message)
            turn.messages += self._channels.give_up(channel)
        return turn

    def _renew(self, token: str | None, turn: Turn) -> None:
        """Take a token, unless it is known already or says nothing of a user.

        Until the first join it may be anybody's: whoever has no session can still say who it is.
        """
        if token is None or token == self._token or is_key(token):
            return
        identity = self._verify(token)
        same = (identity.namespace, identity.user) == (
            self._identity.namespace,
            self._identity.user,
        )
        if not same and self._introduced:
            raise FrameRefused(
                ErrorCode.FORBIDDEN,
                f"this connection is {self._identity.user}'s: open another one for another user",
            )
        self._token, self._identity = token, identity
        self._channels.namespace = identity.namespace
        turn.identity = identity

    def _introduction(self, room: str, key: str) -> Introduction | None:
        if self._introduced:
            return None
        self._introduced = True
        return Introduction(
            family=self._claims.family(key), device=self._claims.device, topic=room, meta={}
        )

    # What the machine says.

    def hear(self, message: ServerMessage) -> Turn:
        """The machine has something for this client."""
        match message:
            case Ok(id=int(request)):
                return self._channels.granted(request, joined=_GRANTED)
            case Err(id=int(request)):
                return self._channels.denied(request, message)
            case Err(code=ErrorCode.KICKED):
                return Turn(frames=self._channels.dismiss())
            case Snap() | Diff():
                return self._channels.told(message)
            case _:
                # Our own words for what this protocol has none for: welcome, view, goaway, ...
                return Turn()

    def hear_said(self, said: Said) -> Turn:
        """Somebody said something in a room."""
        channel = self._channels.get(said.topic.partition("/")[2])
        if channel is None or channel.missing:
            return Turn()
        made = self._hall.frame(said, version=self._version, topic=channel.topic)
        if made is None:
            return Turn()
        if said.binary:
            return Turn(frames=[made], binary=True)
        return Turn(frames=[glue(self._version, channel.join_ref, made)])

    # Small things.

    def _channel_of(self, topic: str) -> Channel | None:
        try:
            return self._channels.get(room_of(topic))
        except FrameRefused:
            return None

    def _dismissal(self, channel: Channel, message: str) -> list[bytes]:
        words = {"extension": "system", "status": "error", "message": message}
        payload = encode_json({**words, "channel": channel.topic.removeprefix(PREFIX)})
        shared = tail(self._version, topic=channel.topic, event="system", payload=payload)
        return [glue(self._version, channel.join_ref, shared), self._channels.closing(channel)]


def _config(payload: object) -> _Config:
    params = fields_of(payload, "the payload of a join")
    config = _part(params, "config")
    presence, broadcast = _part(config, "presence"), _part(config, BROADCAST)
    if config.get("postgres_changes"):
        raise FrameRefused(ErrorCode.BAD_FRAME, _NO_CHANGES)
    if broadcast.get("replay"):
        raise FrameRefused(ErrorCode.BAD_FRAME, _NO_REPLAY)
    key = presence.get("key")
    return _Config(
        # Clients that are older than the switch want to hear it.
        hears_presence=_flag(presence.get("enabled"), default=True),
        key=key if isinstance(key, str) else "",
        wants_acks=_flag(broadcast.get("ack"), default=False),
        wants_echoes=_flag(broadcast.get("self"), default=False),
        token=_token(params),
    )


def _part(fields: dict[str, object], name: str) -> dict[str, object]:
    value = fields.get(name)
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _flag(value: object, *, default: bool) -> bool:
    """A switch, which some clients write as a text."""
    if isinstance(value, str):
        return value.lower() == "true"
    return value if isinstance(value, bool) else default


def _token(fields: dict[str, object]) -> str | None:
    token = fields.get("access_token")
    return token if isinstance(token, str) and token else None
