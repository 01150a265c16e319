"""What a Phoenix client says of itself: params, metas, tokens in subprotocols, goodbyes."""

from __future__ import annotations

import base64

import pytest

from presence_actors.core.limits import DEVICE_CHARACTERS_MAX, META_BYTES_MAX, META_DEPTH_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.phoenix_claims import (
    Claims,
    bearer_in,
    checked_meta,
    fields_of,
    says_goodbye,
)
from presence_actors.wire.refusals import FrameRefused


def test_params_say_what_a_client_is() -> None:
    """The token is no part of it: it differs from one attempt to the next."""
    claims = Claims.of({"token": "t", "vsn": "2.0.0", "device": "tv", "app": "x", "meta[a]": "1"})
    assert claims.device == "tv"
    assert claims.meta == {"a": "1"}
    assert claims.lasting == [("app", "x"), ("device", "tv"), ("meta[a]", "1")]
    assert Claims.of({}).device == Claims.of({"device": ""}).device == "web"


def test_who_says_the_same_is_of_one_family() -> None:
    """In whatever order, under whatever token."""
    one = Claims.of({"token": "t", "app": "x", "tab": "1"})
    assert one.family() == Claims.of({"tab": "1", "app": "x", "token": "u"}).family()
    assert one.family() != Claims.of({"app": "x", "tab": "2"}).family()
    assert one.family() != Claims.of({}).family()


def test_who_names_a_device_id_is_known_by_it_alone() -> None:
    """So that an application may change everything else."""
    one = Claims.of({"device_id": "d1", "app": "x"})
    assert one.family() == Claims.of({"device_id": "d1", "app": "y"}).family()
    assert one.family() != Claims.of({"device_id": "d2", "app": "x"}).family()


@pytest.mark.parametrize(
    "params",
    [
        {"device": "x" * (DEVICE_CHARACTERS_MAX + 1)},
        {"device": "a\nb"},
        {"meta[a]": "x" * META_BYTES_MAX},
    ],
)
def test_params_that_cannot_be_taken_are_refused(params: dict[str, str]) -> None:
    """Before there is a socket."""
    with pytest.raises(FrameRefused):
        Claims.of(params)


def test_a_meta_is_an_object_within_bounds() -> None:
    """So deep and no deeper, and with numbers that JavaScript can hold."""
    deep: object = 1
    for _ in range(META_DEPTH_MAX):
        deep = {"a": deep}
    assert checked_meta(deep) == deep
    wrongs: list[object] = [{"a": deep}, [], None, "x", {"a": 1 << 63}, {"a": [float("inf")]}]
    for wrong in wrongs:
        with pytest.raises(FrameRefused) as refused:
            checked_meta(wrong)
        assert refused.value.code is ErrorCode.BAD_FRAME
    assert fields_of({}, "this") == {}


def test_a_token_comes_in_a_subprotocol() -> None:
    """In standard base64 without padding, as the stock client makes it, or in the URL alphabet."""
    for token in ("dev:alice", "dev:zoë?>~", "e.y.J"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            word = "base64url.bearer.phx." + encode(token.encode()).rstrip(b"=").decode()
            assert bearer_in(["phoenix", word]) == token
    assert bearer_in(["phoenix"]) is None
    assert bearer_in([""]) is None


@pytest.mark.parametrize("encoded", ["A", "/w", "\u00e9", "A" * 20_000, "!!!!!"])
def test_a_subprotocol_that_is_no_token_is_none(encoded: str) -> None:
    """And is refused as one that is missing."""
    assert bearer_in(["base64url.bearer.phx." + encoded]) is None


@pytest.mark.parametrize(
    ("code", "reason", "is_goodbye"),
    [
        (0, "", True),
        (1005, "", True),
        (1000, "", True),
        (1000, "heartbeat timeout", False),
        (1001, "", False),
        (1006, "", False),
        (4000, "", False),
    ],
)
def test_only_a_goodbye_needs_no_grace(code: int, reason: str, *, is_goodbye: bool) -> None:
    """A connection that was lost, or is taken for lost, may come back."""
    assert says_goodbye(code, reason) is is_goodbye
