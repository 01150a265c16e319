"""Notices on their way to an app server: one signed POST each, and its answer as an event.

The form is that of Standard Webhooks (standardwebhooks.com): receivers need no code of ours for
the headers `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`, which is `v1,` and
the base64 of the HMAC-SHA-256 of ``ID.TIMESTAMP.BODY``. When to send again is not decided here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import hmac
import logging
from collections.abc import Callable
from typing import Final

import aiohttp
import msgspec

from presence_actors.core.effects import Notify
from presence_actors.core.events import NoticeAnswered
from presence_actors.errors import ConfigError
from presence_actors.runtime.clock import Clock, SystemClock

__all__ = ["WebhookSender", "body_of", "signature", "webhook_key"]

_log = logging.getLogger(__name__)

#: How a secret is often spelt: this, and base64 behind it.
_PREFIX: Final = b"whsec_"
#: Bytes of a secret: less can be guessed.
KEY_BYTES_MIN: Final = 24
#: How long a receiver may take, and how many are asked at the same time.
_ANSWER_S: Final = 10.0
_AT_ONCE: Final = 20
_REASON_CHARACTERS: Final = 200
_OK_FIRST, _OK_END = 200, 300


def webhook_key(text: bytes) -> bytes:
    """The key in a secret: ``whsec_`` and base64, or the bytes themselves.

    Raises:
        ConfigError: It is none, or too short.
    """
    key = text.strip()
    if key.startswith(_PREFIX):
        try:
            key = base64.b64decode(key.removeprefix(_PREFIX), validate=True)
        except binascii.Error as error:
            raise ConfigError("webhook_key", "whsec_...", "must have base64 behind it") from error
    if len(key) < KEY_BYTES_MIN:
        # Never the key itself: errors end up in logs.
        raise ConfigError(
            "webhook_key",
            f"{len(key)} bytes",
            f"must have at least {KEY_BYTES_MIN} bytes; make one with: openssl rand -hex 32",
        )
    return key


def signature(key: bytes, *, id: str, timestamp: int, body: bytes) -> str:  # noqa: A002  # its name
    """What a receiver compares with, in constant time.

    >>> signature(b"k" * 24, id="msg_1", timestamp=1, body=b"{}")
    'v1,Vmlv3+JA6+uwIIAIu7e/H4EIIl5fJFzZp8cyLkfxmYs='
    """
    signed = f"{id}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def body_of(notify: Notify) -> bytes:
    """What is posted; equal notices have equal bodies."""
    at = dt.datetime.fromtimestamp(notify.at / 1_000, dt.UTC)
    return msgspec.json.encode(
        {
            "type": "presence.status",
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {
                "namespace": notify.namespace,
                "user": notify.user,
                "status": notify.status,
                "previous": notify.previous,
                "number": notify.number,
                "at": notify.at,
            },
        }
    )


class WebhookSender:
    """Posts notices; nothing waits for it.

    Args:
        url: Of the receiver.
        key: What is signed with.
        answered: Takes each answer.
        clock: Where the time comes from.
    """

    def __init__(
        self,
        url: str,
        key: bytes,
        *,
        answered: Callable[[NoticeAnswered], None],
        clock: Clock | None = None,
    ) -> None:
        self._url = url
        self._key = key
        self._answered = answered
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._session: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, notify: Notify) -> None:
        """Post it as soon as there is room."""
        task = asyncio.get_running_loop().create_task(self._carry(notify))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Post nothing more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _carry(self, notify: Notify) -> None:
        async with self._turns:
            reason = await self._post(notify)
        if reason:
            _log.warning("NoticeRefused id=%s reason=%r", notify.id, reason)
        self._answered(NoticeAnswered(notify.shard, notify.id, taken=not reason, reason=reason))

    async def _post(self, notify: Notify) -> str:
        """Why it was not taken; empty if it was."""
        body = body_of(notify)
        timestamp = self._clock.now().wall // 1_000
        headers = {
            "Content-Type": "application/json",
            "webhook-id": notify.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, id=notify.id, timestamp=timestamp, body=body),
        }
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            # A redirect is an answer of somebody else: the signed body goes where it was sent only.
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                return "" if _OK_FIRST <= answer.status < _OK_END else f"status {answer.status}"
        except TimeoutError:
            return f"no answer within {_ANSWER_S:.0f} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{type(error).__name__}: {error}"[:_REASON_CHARACTERS]
