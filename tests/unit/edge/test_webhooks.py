"""Webhooks: how a notice is spelt and signed."""

from __future__ import annotations

import base64
import json

import pytest

from presence_actors.core.effects import Notify
from presence_actors.core.ids import ShardId, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import UserStatus
from presence_actors.edge.webhooks import body_of, signature, webhook_key
from presence_actors.errors import ConfigError

KEY = bytes(range(32))
NOTIFY = Notify(
    shard=ShardId(0),
    id="0011",
    namespace="shop",
    user=UserId("alice"),
    status=UserStatus.ONLINE,
    previous=UserStatus.OFFLINE,
    number=3,
    at=WallMs(1_764_000_000_007),
)


def test_a_body_says_what_when_and_after_what() -> None:
    """Its form is that of Standard Webhooks: type, timestamp, data."""
    assert json.loads(body_of(NOTIFY)) == {
        "type": "presence.status",
        "timestamp": "2025-11-24T16:00:00.007Z",
        "data": {
            "namespace": "shop",
            "user": "alice",
            "status": "online",
            "previous": "offline",
            "number": 3,
            "at": 1_764_000_000_007,
        },
    }


def test_a_signature_is_of_the_id_the_time_and_the_body() -> None:
    """The vector of the specification's own library, and each part changes it."""
    key = webhook_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    name, timestamp = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    known = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, id=name, timestamp=timestamp, body=body) == known
    others = {
        signature(key, id=name + "x", timestamp=timestamp, body=body),
        signature(key, id=name, timestamp=timestamp + 1, body=body),
        signature(key, id=name, timestamp=timestamp, body=body + b" "),
        signature(key + b"x", id=name, timestamp=timestamp, body=body),
    }
    assert len(others | {known}) == 5


def test_a_key_is_spelt_in_base64_behind_its_prefix_or_plainly() -> None:
    """As the tools of receivers have it."""
    assert webhook_key(b"whsec_" + base64.b64encode(KEY) + b"\n") == KEY
    assert webhook_key(b"x" * 24) == b"x" * 24


@pytest.mark.parametrize("text", [b"", b"secret", b"whsec_c2VjcmV0", b"whsec_no base64!"])
def test_a_key_that_can_be_guessed_is_none(text: bytes) -> None:
    """The error does not show it."""
    with pytest.raises(ConfigError) as refused:
        webhook_key(text)
    assert refused.value.knob == "webhook_key"
    assert "secret" not in str(refused.value)
