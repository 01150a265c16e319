"""What users choose to show on all devices: from the client's frame to a durable record.

The answer to the client comes when a replica has the record, so that `ok` means it survives this
gateway.
"""

from __future__ import annotations

from crdt import Origin, Row, Stamp
from presence_actors.core.ids import ConnectionId, RequestId, Topic, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.values import INTENT_KEY, IntentStatus, IntentValue, encode_value
from presence_actors.core.vocabulary import Intent

__all__ = ["Choices", "intent_row", "intent_trouble"]

_SPELT_NONE = "online"


def intent_trouble(message: Intent) -> str | None:
    """What is wrong with a choice, or None."""
    words = [status.value for status in IntentStatus if status.value]
    if message.status in ("", _SPELT_NONE, *words):
        return None
    listed = ", ".join((_SPELT_NONE, *words))
    return f"intent {message.status!r} must be one of {listed}, or empty for none"


def intent_row(topic: Topic, user: UserId, message: Intent) -> Row:
    """The choice as an unstamped row; the replica gives it its epoch."""
    value = IntentValue(
        status="" if message.status == _SPELT_NONE else message.status,
        text=message.text,
        emoji=message.emoji,
        until=None if message.until is None else WallMs(message.until),
    )
    return Row(
        key=(topic, user, INTENT_KEY),
        stamp=Stamp(0),
        origin=Origin(""),
        epoch=0,
        status=1,
        holder="",
        value=encode_value(value),
    )


class Choices:
    """Who waits for an answer. Bounded: an entry goes when it is answered or the client goes.

    Acts of app servers wait here, too, under the numbers of their requests (`core.acting`).
    """

    def __init__(self) -> None:
        self._asked: dict[RequestId, tuple[ConnectionId, int | str] | RequestId] = {}
        self._last = 0

    def ask_for(self, act: RequestId) -> RequestId:
        """A number of ours for part of an act."""
        self._last += 1
        self._asked[RequestId(self._last)] = act
        return RequestId(self._last)

    def ask(self, connection: ConnectionId, request: int | str | None) -> RequestId | None:
        """A number of ours for the client's request; None if it wants no answer."""
        if request is None:
            return None
        self._last += 1
        self._asked[RequestId(self._last)] = (connection, request)
        return RequestId(self._last)

    def take(self, request: RequestId) -> tuple[ConnectionId, int | str] | RequestId | None:
        """Who asked, and under which id; or the act that this was part of."""
        return self._asked.pop(request, None)

    def forget(self, connection: ConnectionId) -> None:
        """The client is gone."""
        self._asked = {
            request: asked
            for request, asked in self._asked.items()
            if not isinstance(asked, tuple) or asked[0] != connection
        }
