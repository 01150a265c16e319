"""What the golden frames say: for each file, the message that it must decode to for ever.

A new kind of frame gets an entry here, and its file by ``python -m tests.golden.regenerate``.
A file that a release has shipped is never written again: if its test fails, old clients (or a node
of the release before) fail, too.
"""

from typing import Final

from presence_actors.core.ids import SessionId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import (
    Bye,
    ClientMessage,
    Count,
    Diff,
    Entry,
    Err,
    ErrorCode,
    Goaway,
    Hello,
    Intent,
    KeyRange,
    Lag,
    Leave,
    Ok,
    Patch,
    Ping,
    Pong,
    Quality,
    ServerMessage,
    Set,
    Snap,
    StatusFrame,
    Sub,
    Unset,
    Unsub,
    UserStatus,
    ViewFrame,
    Welcome,
)

ALICE: Final = Entry(
    ref="c2Vzc2lvbi0x",
    key=UserId("alice"),
    status="online",
    device="desktop",
    since=WallMs(1_764_000_000_000),
    meta={"mood": "curious"},
)
BOB: Final = Entry(
    ref="c2Vzc2lvbi0y",
    key=UserId("bob"),
    status="dnd",
    device="mobile",
    since=WallMs(1_764_000_050_000),
    meta={},
)

NATIVE_CLIENT: Final[dict[str, ClientMessage]] = {
    "hello": Hello(token="dev:alice"),
    "hello-resuming": Hello(
        token="dev:alice",
        session=SessionId("f2c1a9d07b6e4f53"),
        resume=2,
        idle_ms=42_000,
        device="mobile",
        status="away",
        caps=["example"],
    ),
    "sub": Sub(id=1, topics=["room:lobby", "room:design"], users=["bob", "carol"]),
    "sub-counts": Sub(id=11, topics=["room:lobby"], counts=True),
    "sub-keys": Sub(id=12, topics=["room:hall"], keys=KeyRange(start="b", end="d")),
    "sub-cursor": Sub(id=2, topics=["room:lobby"], cursor="MS5hLmI"),
    "unsub": Unsub(id=3, topics=["room:design"], users=["carol"]),
    "set": Set(id=4, topic="room:lobby", meta={"mood": "curious"}),
    "set-again": Set(
        id=5,
        topic="room:lobby",
        meta={"mood": "curious"},
        status="online",
        since=1_764_000_000_000,
    ),
    "set-status": Set(id=6, status="away"),
    "patch": Patch(id=7, topic="room:lobby", meta={"mood": None, "task": {"ticket": 42}}),
    "unset": Unset(id=8, topic="room:lobby"),
    "intent": Intent(id=9, status="dnd", text="in a meeting", emoji="📅", until=1_764_003_600_000),
    "intent-none": Intent(id=10),
    "ping": Ping(t=1_764_000_060_000),
    "bye": Bye(),
}

NATIVE_SERVER: Final[dict[str, ServerMessage]] = {
    "welcome": Welcome(
        session=SessionId("f2c1a9d07b6e4f53"),
        user=UserId("alice"),
        resume=0,
        since=WallMs(1_764_000_000_000),
        heartbeat_ms=25_000,
        lease_ms=60_000,
        grace_ms=15_000,
        grace_gateway_ms=30_000,
        server_ms=WallMs(1_764_000_000_004),
        gateway="a/g0",
        gateways=["ws://127.0.0.1:4000", "ws://127.0.0.1:4001"],
    ),
    "ok": Ok(id=1),
    "ok-set": Ok(id=4, since=WallMs(1_764_000_000_000)),
    "err": Err(
        id=8, code=ErrorCode.NOT_JOINED, message="room:lobby is not joined; join it with set first"
    ),
    "err-retry": Err(
        id=4,
        code=ErrorCode.RATE_LIMITED,
        message="too many changes; slow down",
        retry_after_ms=2_000,
    ),
    "snap": Snap(topic="room:lobby", state=[ALICE, BOB], cursor="MS5hLmI"),
    "snap-part": Snap(topic="room:lobby", state=[ALICE], part=0, last=False),
    "count": Count(topic="room:lobby", users=2, devices=3),
    "lag": Lag(step="counts", behind_ms=1_700),
    "diff-check": Diff(topic="room:lobby", check="c2a50e37d90b1f64"),
    "diff": Diff(
        topic="room:lobby",
        joins=[BOB],
        updates=[ALICE],
        leaves=[Leave(ref="c2Vzc2lvbi0z", key=UserId("carol"), reason="left")],
        cursor="MS5hLmM",
    ),
    "diff-resumed": Diff(topic="room:lobby", updates=[ALICE], resumed=True, cursor="MS5hLmQ"),
    "status": StatusFrame(
        user=UserId("bob"),
        status=UserStatus.DND,
        devices=["desktop", "mobile"],
        text="in a meeting",
        emoji="📅",
        since=WallMs(1_764_000_050_000),
    ),
    "status-unreachable": StatusFrame(
        user=UserId("bob"),
        status=UserStatus.UNREACHABLE,
        devices=["desktop"],
        since=WallMs(1_764_000_050_000),
        as_of=WallMs(1_764_000_070_000),
    ),
    "status-offline": StatusFrame(
        user=UserId("carol"),
        status=UserStatus.OFFLINE,
        last_seen=WallMs(1_764_000_055_000),
        reason="timeout",
    ),
    "view": ViewFrame(
        scope="room:lobby",
        quality=Quality.PARTIAL,
        silent=["b"],
        as_of=WallMs(1_764_000_070_000),
        unreachable=["c2Vzc2lvbi0y"],
    ),
    "view-complete": ViewFrame(scope="room:lobby", quality=Quality.COMPLETE),
    "pong": Pong(t=1_764_000_060_000, server_ms=WallMs(1_764_000_060_007)),
    "goaway": Goaway(
        reason="restart",
        in_ms=500,
        retry_in_ms=1_250,
        jitter_ms=50,
        gateways=["ws://127.0.0.1:4001"],
    ),
}
