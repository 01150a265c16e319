"""Events as readers of streams split them: by lines, whatever is in the data."""

from __future__ import annotations

import msgspec
import pytest

from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Diff, Entry, Err, ErrorCode, Goaway, Snap
from presence_actors.wire.event_stream import EventAdapter, close_event, mark_event, retry_event
from presence_actors.wire.refusals import FrameRefused


def fields(event: bytes) -> dict[str, str]:
    """The fields of one event; there must be exactly one."""
    assert event.endswith(b"\n\n")
    lines = event.decode()[:-2].split("\n")
    pairs = [line.partition(": ") for line in lines]
    assert len({name for name, _, _ in pairs}) == len(pairs)
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("text", ["plain", "two\nlines", "a\r\nb", "\u2028", "\x00", "data: x\n\n"])
def test_no_text_of_a_client_can_make_an_event_of_its_own(text: str) -> None:
    """Line breaks are escaped within JSON."""
    entry = Entry(
        ref="r",
        key=UserId("alice"),
        status="online",
        device="web",
        since=WallMs(1),
        meta={"text": text},
    )
    for message in (Snap(topic="room:a", state=[entry]), Diff(topic="room:a", joins=[entry])):
        event = EventAdapter().encode(message)
        assert b"\r" not in event
        found = fields(event)
        assert found["event"] == message.__struct_config__.tag
        assert msgspec.json.decode(found["data"], type=type(message)) == message


def test_an_event_says_what_a_frame_says() -> None:
    """Its name is the type of the frame."""
    event = EventAdapter().encode(Err(code=ErrorCode.TOO_MANY, message="too many"))
    assert event == b'event: err\ndata: {"type":"err","code":"too_many","message":"too many"}\n\n'
    assert fields(EventAdapter().encode(Goaway(reason="restart")))["event"] == "goaway"


def test_what_is_no_message_has_events_of_its_own() -> None:
    """From where to go on, why it ends, and when to come again."""
    assert fields(mark_event("gQA~1f")) == {"id": "gQA~1f", "event": "mark", "data": "{}"}
    assert fields(close_event(1012, "drain")) == {
        "event": "close",
        "data": '{"code":1012,"reason":"drain"}',
    }
    assert retry_event(2_000) == b"retry: 2000\n\n"


def test_nothing_can_be_said_on_a_stream() -> None:
    """It is for listening."""
    with pytest.raises(FrameRefused):
        EventAdapter().decode("{}")
