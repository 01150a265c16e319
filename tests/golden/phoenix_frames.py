"""What the golden frames of Phoenix clients say, and a conversation that makes those of a gateway.

See frames.py for how they are written; once a release has shipped them they stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from presence_actors.core.ids import Namespace
from presence_actors.core.vocabulary import Diff, Leave, Ok, Snap
from presence_actors.wire.phoenix import PhoenixDialog
from presence_actors.wire.phoenix_frames import Frame, Version
from presence_actors.wire.phoenix_presence import Rooms
from presence_actors.wire.turns import Turn
from tests.golden.frames import ALICE, BOB

_LOBBY: Final = "room:lobby"


def _frame(
    event: str,
    payload: dict[str, object],
    *,
    ref: str,
    join_ref: str | None = "3",
    topic: str = _LOBBY,
) -> Frame:
    return Frame(join_ref=join_ref, ref=ref, topic=topic, event=event, payload=payload)


CLIENT_V2: Final = {
    "heartbeat": _frame("heartbeat", {}, ref="7", join_ref=None, topic="phoenix"),
    "join": _frame("phx_join", {"meta": {"mood": "curious"}}, ref="3"),
    "join-watching": _frame("phx_join", {"track": False}, ref="3"),
    "track": _frame("track", {"mood": "calm"}, ref="8"),
    "untrack": _frame("untrack", {}, ref="9"),
    "leave": _frame("phx_leave", {}, ref="10"),
}
CLIENT_V1: Final = {
    "heartbeat": _frame("heartbeat", {}, ref="7", join_ref=None, topic="phoenix"),
    "join": _frame("phx_join", {"meta": {"mood": "curious"}}, ref="3", join_ref=None),
    "track": _frame("track", {"mood": "calm"}, ref="8", join_ref=None),
    "leave": _frame("phx_leave", {}, ref="10", join_ref=None),
}


def encoded(version: Version, frame: Frame) -> dict[str, object] | list[object]:
    """The frame as a client of this version would say it."""
    if version is Version.V1:
        return {
            "topic": frame.topic,
            "event": frame.event,
            "payload": frame.payload,
            "ref": frame.ref,
        }
    return [frame.join_ref, frame.ref, frame.topic, frame.event, frame.payload]


def server_frames(version: Version) -> dict[str, bytes]:
    """What a gateway says in a short conversation, by the names of the golden files."""
    return dict(_conversation(version))


def _conversation(version: Version) -> Iterator[tuple[str, bytes]]:
    dialog = PhoenixDialog(
        version=version, namespace=Namespace("default"), params={}, rooms=Rooms()
    )

    def say(join_ref: str | None, ref: str, topic: str, event: str, payload: str) -> Turn:
        if version is Version.V1:
            return dialog.receive(
                f'{{"topic":"{topic}","event":"{event}","payload":{payload},"ref":"{ref}"}}'
            )
        first = "null" if join_ref is None else f'"{join_ref}"'
        return dialog.receive(f'[{first},"{ref}","{topic}","{event}",{payload}]')

    yield "heartbeat", say(None, "7", "phoenix", "heartbeat", "{}").frames[0]
    yield "unmatched", say("2", "2", "user:bob", "phx_join", "{}").frames[0]
    say("3", "3", _LOBBY, "phx_join", '{"meta":{"mood":"curious"}}')
    dialog.hear(Ok(id=1))
    yield "joined", dialog.hear(Ok(id=2)).frames[0]
    yield "state", dialog.hear(Snap(topic=_LOBBY, state=[ALICE])).frames[0]
    yield "join", dialog.hear(Diff(topic=_LOBBY, joins=[BOB])).frames[0]
    calm = type(ALICE)(
        ref=ALICE.ref,
        key=ALICE.key,
        status=ALICE.status,
        device=ALICE.device,
        since=ALICE.since,
        meta={"mood": "calm"},
    )
    yield "update", dialog.hear(Diff(topic=_LOBBY, updates=[calm])).frames[0]
    gone = Leave(ref=BOB.ref, key=BOB.key, reason="left")
    yield "leave", dialog.hear(Diff(topic=_LOBBY, leaves=[gone])).frames[0]
    left = say("3", "10", _LOBBY, "phx_leave", "{}")
    yield "left", left.frames[0]
    yield "close", left.frames[1]
    say("11", "11", _LOBBY, "phx_join", "{}")
    yield "error", dialog.hear(Diff(topic=_LOBBY, joins=[BOB])).frames[0]
