"""The native protocol in MessagePack: the frames of the JSON one, judged alike."""

import contextlib
import json
from functools import partial
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX, META_DEPTH_MAX
from presence_actors.core.vocabulary import ClientMessage, ErrorCode, Ping, Set
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire import native
from presence_actors.wire.native_msgpack import (
    MsgpackAdapter,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
)
from presence_actors.wire.refusals import FrameRefused
from tests.golden.frames import NATIVE_CLIENT, NATIVE_SERVER

GOLDEN = Path(__file__).parents[2] / "golden" / "native-v1-msgpack"


def refusal(frame: bytes) -> FrameRefused:
    """What a frame is refused with."""
    with pytest.raises(FrameRefused) as refused:
        decode_client(frame)
    return refused.value


@pytest.mark.parametrize("name", NATIVE_CLIENT)
def test_a_golden_frame_of_a_client_decodes_for_ever(name: str) -> None:
    """Clients that were built with an older release keep working."""
    frame = (GOLDEN / f"client-{name}.bin").read_bytes()
    assert decode_client(frame) == NATIVE_CLIENT[name]
    assert decode_client(encode_client(NATIVE_CLIENT[name])) == NATIVE_CLIENT[name]


@pytest.mark.parametrize("name", NATIVE_SERVER)
def test_a_golden_frame_of_a_gateway_decodes_for_ever(name: str) -> None:
    """A client of today understands a gateway of the release before."""
    frame = (GOLDEN / f"server-{name}.bin").read_bytes()
    assert decode_server(frame) == NATIVE_SERVER[name]
    assert decode_server(encode_server(NATIVE_SERVER[name])) == NATIVE_SERVER[name]


def test_each_golden_file_is_checked() -> None:
    """No file lies there that no test reads."""
    expected = {f"client-{name}.bin" for name in NATIVE_CLIENT} | {
        f"server-{name}.bin" for name in NATIVE_SERVER
    }
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("name", NATIVE_SERVER)
def test_a_frame_has_the_fields_of_its_sibling_in_json(name: str) -> None:
    """What docs/protocol.md shows in JSON holds for MessagePack, field by field."""
    packed: object = msgpack.unpackb(encode_server(NATIVE_SERVER[name]))
    assert packed == json.loads(native.encode_server(NATIVE_SERVER[name]))


def test_the_adapter_takes_binary_frames_only() -> None:
    """Who agreed on MessagePack and sends text is told so."""
    adapter = MsgpackAdapter()
    assert adapter.binary
    assert adapter.decode(encode_client(NATIVE_CLIENT["bye"])) == NATIVE_CLIENT["bye"]
    assert adapter.encode(NATIVE_SERVER["ok"]) == encode_server(NATIVE_SERVER["ok"])
    with pytest.raises(FrameRefused, match="binary frames only") as refused:
        adapter.decode('{"type":"bye"}')
    assert refused.value.code is ErrorCode.BAD_FRAME


def test_a_heartbeat_is_read_with_and_without_its_time() -> None:
    """The short way for the most frequent frame ends where the long one does."""
    for t in (None, 0, 7, 1.5, 2**40):
        assert decode_client(encode_client(Ping(t=t))) == Ping(t=t)
    # Not the short way: the fields in another order, and one more.
    assert decode_client(msgpack.packb({"t": 7, "type": "ping"})) == Ping(t=7)
    assert decode_client(msgpack.packb({"type": "ping", "t": 7, "new": [1]})) == Ping(t=7)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "no MessagePack"),
        (b"\xc1", "no MessagePack"),
        (msgpack.packb({"type": "ping"}) + b"\x01", "no MessagePack"),
        (msgpack.packb([1, 2]), "no MessagePack map but a list"),
        (b"\x82\xa4type\xa3bye\xa4type\xa3bye", "'type' comes twice"),
        (b"\x81\xa4type\xa2\xff\xfe", "not UTF-8"),
        (msgpack.packb({"type": "ping", 7: 7}), "no MessagePack"),
        (msgpack.packb({b"type": "ping"}), "the name of a field is no string"),
        (msgpack.packb({"type": "ping", "t": float("nan")}), "infinite or has more than 64"),
        (msgpack.packb({"type": "ping", "t": 2**64 - 1}), "infinite or has more than 64"),
        (
            msgpack.packb({"type": "set", "topic": "a", "meta": {"a": [b"x"]}}),
            "cannot carry on a value of the kind bytes",
        ),
        (
            msgpack.packb({"type": "set", "topic": "a", "meta": {"a": msgpack.ExtType(5, b"x")}}),
            "cannot carry on a value of the kind ExtType",
        ),
        (
            msgpack.packb({"type": "set", "topic": "a", "meta": {"a": msgpack.Timestamp(1)}}),
            "cannot carry on a value of the kind Timestamp",
        ),
    ],
)
def test_a_frame_that_cannot_be_taken_says_why(frame: bytes, says: str) -> None:
    """One clear reason each, and the connection goes on."""
    refused = refusal(frame)
    assert refused.code is ErrorCode.BAD_FRAME
    assert says in refused.message


def test_a_frame_is_neither_too_big_nor_too_deep() -> None:
    """The limits are those of JSON."""
    assert refusal(b"\xc0" * (CLIENT_FRAME_BYTES_MAX + 1)).code is ErrorCode.TOO_BIG
    value: object = 1
    for _ in range(META_DEPTH_MAX + 1):
        value = {"a": value}
    frame = msgpack.packb({"type": "set", "topic": "a", "id": 7, "meta": value})
    refused = refusal(frame)
    assert "levels deep" in refused.message
    assert refused.id == 7
    assert refusal(b"\x91" * 60_000).code is ErrorCode.BAD_FRAME


def test_what_a_newer_side_says_is_passed_over() -> None:
    """Optional frames of clients, and all of a gateway's that are not known."""
    assert decode_client(msgpack.packb({"type": "wave", "opt": 1})) is None
    assert decode_server(msgpack.packb({"type": "wave"})) is None
    with pytest.raises(RemoteProtocolError, match=r"presence\.v1\.msgpack"):
        decode_server(b"\xc1")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3))
def test_both_encodings_are_judged_alike(meta: dict[str, object]) -> None:
    """A room's meta gets in by one wire exactly if it gets in by the other."""
    said: list[ClientMessage | ErrorCode | None] = []
    fields = {"type": "set", "topic": "a", "meta": meta}
    try:
        packed: bytes = msgpack.packb(fields)
    except (OverflowError, UnicodeEncodeError):
        return
    readings = (partial(decode_client, packed), partial(native.decode_client, json.dumps(fields)))
    for read in readings:
        try:
            said.append(read())
        except FrameRefused as refused:
            said.append(refused.code)
    assert said[0] == said[1]
    if isinstance(said[0], Set):
        assert decode_client(encode_client(said[0])) == said[0]


@given(st.binary() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_message_or_a_refusal(data: bytes) -> None:
    """Nothing that either side can say ends the other."""
    refused: FrameRefused | None = None
    message: ClientMessage | None = None
    try:
        message = decode_client(data)
    except FrameRefused as error:
        refused = error
    assert refused is None or len(refused.message) < 1_000
    assert message is None or decode_client(encode_client(message)) == message
    with contextlib.suppress(RemoteProtocolError):
        decode_server(data)
