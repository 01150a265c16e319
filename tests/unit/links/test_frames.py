"""`FrameReader`: whole frames out of bytes in pieces."""

import pytest

from presence_actors.errors import RemoteProtocolError
from presence_actors.links.frames import DATA, KEEP_ALIVE, FrameReader, frame, frame_header


def test_a_frame_that_comes_byte_by_byte_is_read_once_whole() -> None:
    """Nothing before the last byte, then exactly the frame."""
    reader = FrameReader(100)
    whole = frame(DATA, b"payload")
    for position in range(len(whole) - 1):
        reader.feed(whole[position : position + 1])
        assert reader.take_frame() is None
    reader.feed(whole[-1:])
    assert reader.take_frame() == (DATA, b"payload")
    assert reader.take_frame() is None


def test_many_frames_in_one_piece_are_read_one_by_one() -> None:
    """Also when the piece ends in the middle of one."""
    reader = FrameReader(100)
    stream = frame(DATA, b"a") + frame(KEEP_ALIVE, b"") + frame(DATA, b"bcd")
    reader.feed(stream[:-1])
    assert reader.take_frame() == (DATA, b"a")
    assert reader.take_frame() == (KEEP_ALIVE, b"")
    assert reader.take_frame() is None
    reader.feed(stream[-1:] + frame(DATA, b"e"))
    assert reader.take_frame() == (DATA, b"bcd")
    assert reader.take_frame() == (DATA, b"e")


def test_the_limit_may_rise_between_two_frames() -> None:
    """What is already buffered is judged by the limit at the time it is taken."""
    reader = FrameReader(1)
    reader.feed(frame(DATA, b"a") + frame(DATA, b"long"))
    assert reader.take_frame() == (DATA, b"a")
    reader.payload_bytes_max = 4
    assert reader.take_frame() == (DATA, b"long")


def test_a_length_above_the_limit_is_refused_before_the_payload_comes() -> None:
    """Four bytes are enough, wherever they lie in the stream."""
    reader = FrameReader(10)
    reader.feed(frame(DATA, b"fine") + frame_header(DATA, 11)[:4])
    assert reader.take_frame() == (DATA, b"fine")
    with pytest.raises(RemoteProtocolError, match="announced a frame of 11 bytes, above 10"):
        reader.take_frame()


def test_a_frame_of_exactly_the_limit_passes() -> None:
    """The limit is the largest size allowed."""
    reader = FrameReader(10)
    reader.feed(frame(DATA, b"x" * 10))
    assert reader.take_frame() == (DATA, b"x" * 10)


def test_what_cannot_be_read_is_given_back_without_what_was_read() -> None:
    """The rest starts at the frame that was refused."""
    reader = FrameReader(10)
    bad = frame_header(DATA, 11) + b"rest"
    reader.feed(frame(DATA, b"fine") + bad)
    assert reader.take_frame() == (DATA, b"fine")
    with pytest.raises(RemoteProtocolError):
        reader.take_frame()
    assert reader.take_rest() == bad
