"""What a frame is refused with."""

import pickle

from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.refusals import FrameRefused


def test_a_refusal_says_its_code_and_its_reason() -> None:
    """For the log: one line with both."""
    refused = FrameRefused(ErrorCode.TOO_LONG, "topic has 129 characters", 7)
    assert str(refused) == "too_long: topic has 129 characters"


def test_a_refused_frame_certainly_did_nothing() -> None:
    """It was never handed on, so it may be sent again, mended."""
    assert FrameRefused(ErrorCode.BAD_FRAME, "no JSON").definite


def test_a_refusal_survives_pickling() -> None:
    """All errors of the tree do."""
    copy = pickle.loads(pickle.dumps(FrameRefused(ErrorCode.BAD_FRAME, "no JSON", "a")))  # noqa: S301
    assert (copy.code, copy.message, copy.id) == (ErrorCode.BAD_FRAME, "no JSON", "a")
