"""The native protocol: each frame, each way to get one wrong, and that nothing else comes out."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.instants import WallMs
from presence_actors.core.limits import (
    CLIENT_FRAME_BYTES_MAX,
    DEVICE_CHARACTERS_MAX,
    EMOJI_CHARACTERS_MAX,
    ID_CHARACTERS_MAX,
    META_BYTES_MAX,
    META_DEPTH_MAX,
    RESUME_MAX,
    SUBSCRIPTIONS_PER_CONNECTION_MAX,
    TEXT_CHARACTERS_MAX,
)
from presence_actors.core.vocabulary import (
    ClientMessage,
    ErrorCode,
    Hello,
    Ping,
    Pong,
    ServerMessage,
    Set,
    Snap,
    Sub,
)
from presence_actors.errors import RemoteProtocolError
from presence_actors.wire.native import (
    SUBPROTOCOL,
    VERSION,
    FrameRefused,
    NativeAdapter,
    closing_code,
    decode_client,
    decode_server,
    encode_client,
    encode_server,
    encode_server_bytes,
)
from tests.golden.frames import NATIVE_CLIENT, NATIVE_SERVER

GOLDEN = Path(__file__).parents[2] / "golden" / "native-v1"
LONG = "x" * (ID_CHARACTERS_MAX + 1)


def refusal(frame: object) -> FrameRefused:
    """What a frame is refused with; a text as it is, anything else as JSON."""
    text = frame if isinstance(frame, str | bytes) else json.dumps(frame)
    with pytest.raises(FrameRefused) as refused:
        decode_client(text)
    return refused.value


def nested(levels: int) -> object:
    """Objects in objects, so many levels deep."""
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# --- each frame ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE_CLIENT)
def test_a_golden_frame_of_a_client_decodes_for_ever(name: str) -> None:
    """Clients that were built with an older release keep working."""
    frame = (GOLDEN / f"client-{name}.json").read_text(encoding="utf-8")
    assert decode_client(frame) == NATIVE_CLIENT[name]
    assert decode_client(encode_client(NATIVE_CLIENT[name])) == NATIVE_CLIENT[name]


@pytest.mark.parametrize("name", NATIVE_SERVER)
def test_a_golden_frame_of_a_gateway_decodes_for_ever(name: str) -> None:
    """A client of today understands a gateway of the release before."""
    frame = (GOLDEN / f"server-{name}.json").read_text(encoding="utf-8")
    assert decode_server(frame) == NATIVE_SERVER[name]
    assert decode_server(encode_server(NATIVE_SERVER[name])) == NATIVE_SERVER[name]


def test_the_document_shows_each_golden_frame_and_no_other() -> None:
    """What an author of a client copies from docs/protocol.md is what the tests run."""
    document = (GOLDEN.parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines()]
    golden = [path.read_text(encoding="utf-8").strip() for path in GOLDEN.iterdir()]
    assert sorted(shown) == sorted(golden)


def test_each_golden_file_is_checked() -> None:
    """No file lies there that no test reads."""
    expected = {f"client-{name}.json" for name in NATIVE_CLIENT} | {
        f"server-{name}.json" for name in NATIVE_SERVER
    }
    assert {path.name for path in GOLDEN.iterdir()} == expected


def test_each_kind_of_frame_has_a_golden_example() -> None:
    """A new frame without an example does not get in."""
    assert {type(message) for message in NATIVE_CLIENT.values()} == set(get_args(ClientMessage))
    assert {type(message) for message in NATIVE_SERVER.values()} == set(get_args(ServerMessage))


def test_the_adapter_is_the_two_functions_of_a_gateway() -> None:
    """The edge asks every protocol for the same two."""
    adapter = NativeAdapter()
    message = NATIVE_SERVER["ok"]
    assert adapter.decode('{"type":"bye"}') == NATIVE_CLIENT["bye"]
    assert adapter.encode(message) == encode_server_bytes(message) == b'{"type":"ok","id":1}'


def test_bytes_and_text_are_read_alike() -> None:
    """A socket may hand over either."""
    assert decode_client(b'{"type":"ping","t":1}') == decode_client('{"type":"ping","t":1}')


def test_a_field_that_is_not_known_is_ignored() -> None:
    """A newer client may say more than this gateway understands."""
    assert decode_client('{"type":"ping","t":1,"new":[1]}') == Ping(t=1)
    heard = decode_server('{"type":"pong","t":1,"server_ms":2,"new":{}}')
    assert heard == Pong(t=1, server_ms=WallMs(2))


def test_a_type_that_is_not_known_but_optional_is_ignored() -> None:
    """A newer client marks what a gateway need not understand."""
    assert decode_client('{"type":"wave","opt":1}') is None
    assert refusal({"type": "wave", "opt": 0}).code is ErrorCode.UNKNOWN_TYPE


def test_a_client_ignores_every_type_that_is_not_known() -> None:
    """A newer gateway may send more than this client understands."""
    assert decode_server('{"type":"wave","anything":[1]}') is None


def test_topics_come_out_with_their_prefix_and_each_once() -> None:
    """The machine never sees two spellings of one room."""
    assert decode_client('{"type":"set","topic":"lobby","meta":{}}') == Set(
        topic="room:lobby", meta={}
    )
    frame = '{"type":"sub","topics":["lobby","room:lobby","user:bob"],"users":["alice"]}'
    assert decode_client(frame) == Sub(topics=["room:lobby"], users=["alice", "bob"])


def test_a_hello_may_repeat_the_version() -> None:
    """It is then checked once more."""
    assert decode_client(json.dumps({"type": "hello", "version": VERSION})) == Hello()


# --- each way to get one wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param("", id="nothing"),
        pytest.param("hello", id="no JSON"),
        pytest.param('{"type":"bye"', id="cut off"),
        pytest.param('{"type":"bye"} {}', id="two values"),
        pytest.param("[]", id="a list"),
        pytest.param('"hello"', id="a string"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="no type"),
        pytest.param('{"type":7}', id="a type that is a number"),
        pytest.param('{"type":"ping","t":NaN}', id="NaN"),
        pytest.param('{"type":"ping","t":Infinity}', id="Infinity"),
        pytest.param('{"type":"ping","t":1e999}', id="a number beyond all"),
        pytest.param('{"type":"ping","t":9223372036854775808}', id="an integer of 65 bits"),
        pytest.param('{"type":"ping","t":1,"t":2}', id="a field twice"),
        pytest.param('{"type":"ping","type":"ping"}', id="the type twice"),
        pytest.param('{"type":"set","topic":"a","meta":{"b":1,"b":2}}', id="twice within"),
        pytest.param('{"type":"ping","t":"soon"}', id="a time that is a text"),
        pytest.param('{"type":"set","topic":5}', id="a topic that is a number"),
        pytest.param('{"type":"set","topic":"a","meta":[]}', id="a meta that is a list"),
        pytest.param('{"type":"sub","topics":"a"}', id="topics that are no list"),
        pytest.param('{"type":"sub","topics":[1]}', id="a topic among them that is none"),
        pytest.param('{"type":"sub","id":{}}', id="an id that is an object"),
        pytest.param('{"type":"patch","topic":"a"}', id="a patch without meta"),
        pytest.param('{"type":"patch","meta":{}}', id="a patch without topic"),
        pytest.param('{"type":"unset"}', id="an unset without topic"),
        pytest.param('{"type":"set"}', id="a set of nothing"),
        pytest.param('{"type":"set","meta":{}}', id="a meta without a room"),
        pytest.param('{"type":"set","topic":"a\\u0000"}', id="a control character"),
        pytest.param('{"type":"set","topic":""}', id="an empty topic"),
        pytest.param('{"type":"set","topic":"a","meta":{"b":"\\ud800"}}', id="half a pair"),
        pytest.param('{"type":"set","status":"offline"}', id="a status of the fold"),
        pytest.param('{"type":"hello","status":"busy"}', id="a status that is none"),
        pytest.param('{"type":"hello","device":""}', id="an empty device"),
        pytest.param('{"type":"hello","device":"a\\nb"}', id="a device of two lines"),
        pytest.param('{"type":"hello","session":""}', id="an empty session"),
        pytest.param('{"type":"hello","resume":-1}', id="a resume below zero"),
        pytest.param(f'{{"type":"hello","resume":{RESUME_MAX + 1}}}', id="a resume too great"),
        pytest.param('{"type":"hello","resume":true}', id="a resume that is no number"),
        pytest.param('{"type":"hello","caps":[""]}', id="an empty capability"),
        pytest.param('{"type":"intent","status":"online"}', id="an intent that is none"),
        pytest.param('{"type":"intent","until":-5}', id="an end before 1970"),
        pytest.param('{"type":"set","topic":"a","since":281474976710656}', id="a since of 49 bits"),
        pytest.param("[" * 60_000, id="nested beyond all"),
        pytest.param(b'{"type":"\xff"}', id="no UTF-8"),
        pytest.param("\ud800", id="no Unicode"),
        pytest.param('{"type":"ping","t":' + "1" * 5_000 + "}", id="a number of 5,000 digits"),
    ],
)
def test_what_is_no_proper_frame_is_a_bad_frame(frame: str) -> None:
    """Each is answered with a sentence that says what is wrong."""
    refused = refusal(frame)
    assert refused.code is ErrorCode.BAD_FRAME
    assert len(refused.message) > 10


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"type": "set", "topic": LONG}, ["topic", "129", "128"]),
        ({"type": "set", "topic": f"room:{LONG}"}, ["topic", "129", "128"]),
        ({"type": "sub", "topics": ["lobby", LONG]}, ["topics[1]", "129", "128"]),
        ({"type": "sub", "users": [LONG]}, ["users[0]", "129", "128"]),
        ({"type": "sub", "id": LONG}, ["id", "129", "128"]),
        ({"type": "sub", "cursor": "x" * 40_000}, ["cursor", "40000"]),
        ({"type": "unset", "topic": LONG}, ["topic", "129"]),
        ({"type": "patch", "topic": LONG, "meta": {}}, ["topic", "129"]),
        ({"type": "hello", "session": LONG}, ["session", "129"]),
        ({"type": "hello", "token": "x" * 9_000}, ["token", "9000"]),
        ({"type": "hello", "device": "x" * (DEVICE_CHARACTERS_MAX + 1)}, ["device", "33", "32"]),
        ({"type": "intent", "text": "x" * (TEXT_CHARACTERS_MAX + 1)}, ["text", "141", "140"]),
        ({"type": "intent", "emoji": "x" * (EMOJI_CHARACTERS_MAX + 1)}, ["emoji", "17", "16"]),
        ({"type": "set", "topic": "a", "meta": {"b": "x" * META_BYTES_MAX}}, ["meta", "4096"]),
        ({"type": "patch", "topic": "a", "meta": {"b": "x" * META_BYTES_MAX}}, ["meta", "4096"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_too_long_is_refused_with_the_limit(frame: object, words: list[str]) -> None:
    """The refusal names the field, its length and the limit."""
    refused = refusal(frame)
    assert refused.code is ErrorCode.TOO_LONG
    for word in words:
        assert word in refused.message


def test_a_frame_may_have_64_kb_and_not_a_byte_more() -> None:
    """The limit is on the bytes of the frame, whatever is in it."""
    frame = b'{"type":"bye"}'
    full = frame + b" " * (CLIENT_FRAME_BYTES_MAX - len(frame))
    assert decode_client(full) == NATIVE_CLIENT["bye"]
    assert refusal(full + b" ").code is ErrorCode.TOO_BIG


def test_a_meta_may_be_nested_to_the_limit_and_not_deeper() -> None:
    """The meta itself is the first level."""
    frame = {"type": "set", "topic": "a", "meta": nested(META_DEPTH_MAX)}
    assert isinstance(decode_client(json.dumps(frame)), Set)
    frame["meta"] = nested(META_DEPTH_MAX + 1)
    assert refusal(frame).code is ErrorCode.BAD_FRAME


def test_one_frame_may_watch_so_many_and_no_more() -> None:
    """Topics and users count together."""
    names = [f"n{index}" for index in range(SUBSCRIPTIONS_PER_CONNECTION_MAX)]
    assert isinstance(decode_client(json.dumps({"type": "sub", "users": names})), Sub)
    for kind in ("sub", "unsub"):
        refused = refusal({"type": kind, "users": names, "topics": ["one more"]})
        assert refused.code is ErrorCode.TOO_MANY


def test_a_client_may_name_few_capabilities() -> None:
    """They are compared with those of the gateway one by one."""
    refused = refusal({"type": "hello", "caps": [str(index) for index in range(33)]})
    assert refused.code is ErrorCode.TOO_MANY


def test_an_unknown_type_is_named_and_cut() -> None:
    """A long one does not come back whole."""
    refused = refusal({"type": "y" * 5_000})
    assert refused.code is ErrorCode.UNKNOWN_TYPE
    assert "yyyy" in refused.message
    assert len(refused.message) < 200


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_refused_with_what_is_spoken(version: object) -> None:
    """The client learns what to connect with."""
    refused = refusal({"type": "hello", "version": version})
    assert refused.code is ErrorCode.BAD_VERSION
    assert SUBPROTOCOL in refused.message


@pytest.mark.parametrize("kind", ["set", "patch", "unset"])
def test_the_topic_of_a_user_is_for_watching_only(kind: str) -> None:
    """Only the gateway writes it."""
    frame = {"type": kind, "topic": "user:alice", "meta": {}}
    assert refusal(frame).code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("id_", "expected"),
    [(7, 7), ("seven", "seven"), (True, None), ([], None), ("x" * 129, None), (1 << 70, None)],
    ids=str,
)
def test_a_refusal_names_the_request_where_it_can(id_: object, expected: object) -> None:
    """So the client knows which of its requests it was."""
    assert refusal({"type": "set", "id": id_, "topic": 5}).id == expected


def test_a_client_that_talks_to_something_else_hears_so() -> None:
    """An error says what came and what to check, and names no frame."""
    for frame in ("<html>", '{"type":"pong"}', "[]", '{"no":"type"}', b"\xff", "[" * 9_000):
        with pytest.raises(RemoteProtocolError, match="presence gateway"):
            decode_server(frame)


def test_the_errors_that_end_a_connection_do_so_by_their_code() -> None:
    """All others leave it open."""
    ending = {code: closing_code(code) for code in ErrorCode if closing_code(code) is not None}
    assert ending == {
        ErrorCode.BAD_VERSION: 4400,
        ErrorCode.UNAUTHORIZED: 4401,
        ErrorCode.TOKEN_EXPIRED: 4401,
        ErrorCode.TOO_BIG: 1009,
        ErrorCode.KICKED: 4403,
    }


# --- whatever comes -----------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
FIELDS = [
    "id",
    "token",
    "session",
    "resume",
    "device",
    "status",
    "caps",
    "topics",
    "users",
    "cursor",
    "topic",
    "meta",
    "since",
    "text",
    "emoji",
    "until",
    "t",
    "version",
    "opt",
]
TYPES = st.sampled_from(["hello", "sub", "unsub", "set", "patch", "unset", "intent", "ping", "bye"])
NEARLY_FRAMES = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    TYPES,
    st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES, max_size=6),
)


def decode_or_refuse(frame: str | bytes) -> None:
    """A frame gives a message that can be encoded again, or a refusal, and nothing else."""
    refused: FrameRefused | None = None
    message: ClientMessage | None = None
    try:
        message = decode_client(frame)
    except FrameRefused as error:
        refused = error
    if refused is not None:
        assert isinstance(refused.code, ErrorCode)
        assert len(refused.message) < 1_000
    if message is not None:
        assert decode_client(encode_client(message)) == message
        # What is accepted can be carried on in MessagePack, too.
        msgspec.msgpack.encode(message)


@given(st.text())
def test_any_text_is_a_message_or_a_refusal(text: str) -> None:
    """Nothing that a client can say ends the gateway."""
    decode_or_refuse(text)


@given(st.binary())
def test_any_bytes_are_a_message_or_a_refusal(data: bytes) -> None:
    """As above, for what is not even text."""
    decode_or_refuse(data)


@given(NEARLY_FRAMES)
def test_any_object_is_a_message_or_a_refusal(frame: dict[str, object]) -> None:
    """As above, for what looks right at first sight."""
    decode_or_refuse(json.dumps(frame))


@given(st.text() | st.binary() | JSON_VALUES.map(json.dumps))
def test_whatever_a_gateway_sends_is_a_message_or_a_protocol_error(frame: str | bytes) -> None:
    """Nothing that a gateway can say ends the client."""
    try:
        decode_server(frame)
    except RemoteProtocolError:
        return


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=3))
def test_a_snapshot_comes_back_as_it_was_sent(meta: dict[str, object]) -> None:
    """Whatever an application puts into its meta, as far as JSON can hold it."""
    try:
        frame = json.dumps({"type": "set", "topic": "a", "meta": meta})
        said = decode_client(frame)
    except FrameRefused:
        return
    assert isinstance(said, Set)
    assert said.meta is not None
    sent = NATIVE_SERVER["snap-part"]
    assert isinstance(sent, Snap)
    entry = msgspec.structs.replace(sent.state[0], meta=said.meta)
    snap = msgspec.structs.replace(sent, state=[entry])
    assert decode_server(encode_server(snap)) == snap
