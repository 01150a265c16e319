"""Peer frames: the golden ones decode for ever, and no bytes raise anything but what is said."""

import zlib
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from presence_actors.core.messages import PeerMessage
from presence_actors.errors import RemoteProtocolError, VersionRefused
from presence_actors.wire.peer import VERSION, decode_frame, encode_frame
from tests.golden.peer_frames import PEER

GOLDEN = Path(__file__).parents[2] / "golden" / "peer-v4"
FRAMES = [encode_frame(messages) for messages in PEER.values()]


def summed(body: bytes) -> bytes:
    """A frame of our version with these bytes in it, and the checksum of them."""
    head = msgspec.msgpack.encode([VERSION, [zlib.crc32(body), None]])
    return head[:-1] + body


@pytest.mark.parametrize("name", PEER)
def test_a_golden_peer_frame_decodes_for_ever(name: str) -> None:
    """During a rolling upgrade two releases speak to each other."""
    assert decode_frame((GOLDEN / f"{name}.bin").read_bytes()) == PEER[name]
    assert decode_frame(encode_frame(PEER[name])) == PEER[name]


def test_each_golden_peer_file_is_checked() -> None:
    """No file lies there that no test reads."""
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.bin" for name in PEER}


def test_each_kind_of_message_has_a_golden_frame() -> None:
    """A new message without an example does not get in."""
    kinds = {type(message) for messages in PEER.values() for message in messages}
    assert kinds == set(get_args(PeerMessage))


def test_another_version_is_refused_by_name() -> None:
    """Before anything else of the frame is looked at."""
    frame = msgspec.msgpack.encode([VERSION + 1, {"quite": "different"}])
    with pytest.raises(VersionRefused) as refused:
        decode_frame(frame, peer="a/w1/00")
    assert refused.value.theirs == VERSION + 1
    assert "a/w1/00" in str(refused.value)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x02", id="a number"),
        pytest.param(b"\x92\x04", id="cut off"),
        pytest.param(b"\x92\x04\x90", id="without a checksum"),
        pytest.param(b"\x92\x04\x92\x00\x90", id="with another checksum"),
        pytest.param(summed(b"\x90") + b"\x00", id="more behind"),
        pytest.param(summed(b"\xdd\xff\xff\xff\xff"), id="a list that claims 4 billion members"),
        pytest.param(summed(b"\x91\x80"), id="a message without a type"),
        pytest.param(summed(b"\x91\x81\xa4type\xa4Wave"), id="a message of an unknown type"),
        pytest.param(summed(b"\x91" * 50_000), id="nested beyond all"),
        pytest.param(summed(b"\x91\xd4\x05\x00"), id="an extension"),
    ],
)
def test_what_is_no_peer_frame_is_the_fault_of_the_peer(frame: bytes) -> None:
    """It is refused with a word for counters and a sentence for people."""
    with pytest.raises(RemoteProtocolError) as refused:
        decode_frame(frame, peer="a/w1/00")
    assert refused.value.peer == "a/w1/00"
    assert refused.value.code == "bad_frame"


@given(st.sampled_from(FRAMES), st.integers(0, 100_000), st.integers(1, 255))
@example(b'\x92\x04\x92\xce"\r|\xc9\x90', 3, 0xCE ^ 0xD2)
def test_one_wrong_byte_is_refused_or_changes_nothing(
    frame: bytes, place: int, change: int
) -> None:
    """It may well decode as other rows, or as a vector that claims what was never sent.

    Of the checksum itself a byte may say the same in another way: as a number with a sign.
    """
    damaged = bytearray(frame)
    damaged[place % len(damaged)] ^= change
    try:
        messages = decode_frame(bytes(damaged))
    except RemoteProtocolError:
        return
    assert encode_frame(messages) == frame


def test_nothing_but_what_the_messages_hold_is_encoded() -> None:
    """A mistake of ours shows at the sender."""
    with pytest.raises(NotImplementedError):
        encode_frame([object()])  # type: ignore[list-item]


def decode_or_refuse(frame: bytes) -> None:
    """Messages, or the one error."""
    try:
        decode_frame(frame)
    except RemoteProtocolError:
        return


@given(st.binary())
def test_any_bytes_are_messages_or_a_protocol_error(frame: bytes) -> None:
    """Nothing that a peer can send ends this process."""
    decode_or_refuse(frame)


@given(
    st.sampled_from(FRAMES),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4),
    st.integers(0, 2_000),
)
def test_any_damage_to_a_frame_gives_messages_or_a_protocol_error(
    frame: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    """As above, for frames that were right once."""
    damaged = bytearray(frame)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    decode_or_refuse(bytes(damaged))
    decode_or_refuse(bytes(damaged[:length]))
