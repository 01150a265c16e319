"""The asyncio client of a presence cluster.

::

    async with connect("ws://127.0.0.1:4000", "dev:alice") as client:
        room = await client.join("lobby", meta={"mood": "curious"})
        print(room.who())
        async for event in room:
            print(event)

It reconnects by itself, to whichever gateway answers, and tells only net changes.
"""

from presence_actors.client.client import PresenceClient, connect
from presence_actors.client.events import (
    Connected,
    Count,
    Ended,
    Event,
    Interrupted,
    Join,
    Lagging,
    Leave,
    Refused,
    RoomEvent,
    Snapshot,
    Status,
    Update,
    View,
)
from presence_actors.client.room import Room, Watch
from presence_actors.client.stream import EventStream

__all__ = [
    "Connected",
    "Count",
    "Ended",
    "Event",
    "EventStream",
    "Interrupted",
    "Join",
    "Lagging",
    "Leave",
    "PresenceClient",
    "Refused",
    "Room",
    "RoomEvent",
    "Snapshot",
    "Status",
    "Update",
    "View",
    "Watch",
    "connect",
]
