"""A conversation that makes the golden frames of Supabase clients, and of a gateway with them.

See frames.py for how they are written; once a release has shipped them they stay.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from presence_actors.core.vocabulary import Ok
from presence_actors.wire.phoenix_frames import Version
from tests.phoenix_wire import Line
from tests.supabase_wire import LOBBY, join_params, line, said

__all__ = ["CLIENT_V2", "SERVER_BINARY", "encoded", "server_frames"]

#: Frames of version 2: join_ref, ref, topic, event, payload.
CLIENT_V2: Final[dict[str, list[object]]] = {
    "join": ["1", "1", LOBBY, "phx_join", join_params(presence={"key": "tab-1", "enabled": True})],
    "track": [
        "1",
        "2",
        LOBBY,
        "presence",
        {"type": "presence", "event": "track", "payload": {"mood": "calm"}},
    ],
    "untrack": ["1", "3", LOBBY, "presence", {"type": "presence", "event": "untrack"}],
    "broadcast": [
        "1",
        "4",
        LOBBY,
        "broadcast",
        {"type": "broadcast", "event": "shout", "payload": {"n": 1}},
    ],
    "access-token": ["1", "5", LOBBY, "access_token", {"access_token": "default/alice"}],
}
#: Its name in the folder of version 2.
SERVER_BINARY: Final = "broadcast-bytes"


def encoded(version: Version, frame: list[object]) -> bytes:
    """The frame as a client of this version would say it."""
    join_ref, ref, topic, event, payload = frame
    value: object = frame
    if version is Version.V1:
        value = {
            "topic": topic,
            "event": event,
            "payload": payload,
            "ref": ref,
            "join_ref": join_ref,
        }
    return json.dumps(value, separators=(",", ":")).encode()


def server_frames(version: Version) -> dict[str, bytes]:
    """What a gateway says in a short conversation, by the names of the golden files."""
    return dict(_conversation(version))


def _conversation(version: Version) -> Iterator[tuple[str, bytes]]:
    one = line(version)

    def say(frame: list[object]) -> Line:
        one.dialog.receive(encoded(version, frame).decode())
        return one

    say(CLIENT_V2["join"])
    one.dialog.hear(Ok(id=1))
    yield "joined", one.dialog.hear(Ok(id=2)).frames[0]
    say(CLIENT_V2["track"])
    yield "tracked", one.dialog.hear(Ok(id=3)).frames[0]
    yield "broadcast", one.dialog.hear_said(said()).frames[0]
    if version is Version.V2:
        word = said("stroke", b"\x00\xff", binary=True)
        yield SERVER_BINARY, one.dialog.hear_said(word).frames[0]
    changes = [*CLIENT_V2["join"][:4], join_params(changes=[{"event": "*"}])]
    yield "no-changes", one.dialog.receive(encoded(version, changes).decode()).frames[0]
    forged = [*CLIENT_V2["access-token"][:4], {"access_token": "forged"}]
    yield "system", one.dialog.receive(encoded(version, forged).decode()).frames[0]
