"""A Supabase dialog at work in a test."""

from __future__ import annotations

from typing import Any, Final

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.messages import Said
from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.wire.phoenix_frames import Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.refusals import FrameRefused
from presence_actors.wire.supabase import SupabaseDialog
from presence_actors.wire.supabase_talk import Hall
from tests.phoenix_wire import Line

__all__ = ["ALICE", "LOBBY", "join_params", "line", "said", "verify"]

LOBBY: Final = "realtime:lobby"
ALICE: Final = Identity(Namespace("default"), UserId("alice"))


def verify(token: str) -> Identity:
    """Tokens of this test are ``NAMESPACE/USER``; any other is refused."""
    namespace, slash, user = token.partition("/")
    if not slash:
        raise FrameRefused(ErrorCode.UNAUTHORIZED, "the token is refused")
    return Identity(Namespace(namespace), UserId(user))


def line(
    version: Version = Version.V2,
    *,
    rooms: Rooms | None = None,
    hall: Hall | None = None,
    **params: str,
) -> Line:
    """A new connection of alice."""
    return Line(
        SupabaseDialog(
            version=version,
            identity=ALICE,
            params={"apikey": "default/alice", **params},
            rooms=Rooms() if rooms is None else rooms,
            hall=Hall() if hall is None else hall,
            verify=verify,
        )
    )


def join_params(
    *,
    presence: dict[str, Any] | None = None,
    broadcast: dict[str, Any] | None = None,
    changes: list[Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """What a client says when it joins."""
    config = {
        "presence": {"key": ""} if presence is None else presence,
        "broadcast": {"ack": False, "self": False} if broadcast is None else broadcast,
        "postgres_changes": changes or [],
        "private": False,
    }
    return {"config": config, **more}


def said(
    event: str = "shout", payload: bytes = b'{"n":1}', *, room: str = "lobby", binary: bool = False
) -> Said:
    """What somebody said in a room of this namespace."""
    return Said(f"default/room:{room}", event, payload, binary)  # type: ignore[arg-type]
