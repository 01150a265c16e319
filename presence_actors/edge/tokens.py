"""Who a client is, as its token says: a JWT under HMAC-SHA-256 with the gateway's key.

The algorithm is pinned by configuration and never taken from the token; headers that point to keys
(``jku``, ``x5u``, ``kid``, ``jwk``) are not looked at (RFC 8725). To the outside every refusal has
the same words, so that nobody can learn from them what is wrong with a forged token.

An app server's token has the claim ``scope``: words with a space between (RFC 8693), of which
those in `Scope` count.

Without a key the gateway is *open*: anybody may call himself anything by ``dev:NAME``, and an app
server with every scope by ``dev-server:NAME``. Such a gateway serves loopback only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, TypeGuard

import jwt

from presence_actors.core.ids import Namespace, UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.policy import Scope, known_scopes
from presence_actors.core.vocabulary import ErrorCode, Identity
from presence_actors.errors import ConfigError, PresenceError, UsageError
from presence_actors.wire.identifiers import identifier
from presence_actors.wire.refusals import FrameRefused

__all__ = [
    "AUDIENCE",
    "DEFAULT_NAMESPACE",
    "KEY_BYTES_MIN",
    "OPEN_PREFIX",
    "OPEN_SERVER_PREFIX",
    "TokenRefused",
    "TokenVerifier",
    "mint",
]

AUDIENCE: Final = "presence"
DEFAULT_NAMESPACE: Final = Namespace("default")
#: RFC 7518, section 3.2: a key of HS256 has at least as many bits as the hash.
KEY_BYTES_MIN: Final = 32
#: What a name follows where no key is configured.
OPEN_PREFIX: Final = "dev:"
#: The same of an app server, which may do everything there.
OPEN_SERVER_PREFIX: Final = "dev-server:"

_ALGORITHM: Final = "HS256"
_TOKEN_CHARACTERS_MAX: Final = 8 * 1024
_NAMESPACE_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
)
_NAMESPACE_CHARACTERS_MAX: Final = 64
#: Expiry beyond this (the year 10889) is a mistake, and does not fit a stamp.
_EXPIRY_S_MAX: Final = ((1 << 48) - 1) // 1000

#: What the library lets through of its parsers, for claims such as an infinite `exp`.
_UNREADABLE: Final = (ValueError, TypeError, OverflowError, RecursionError)

_REFUSED: Final = "the token is not valid for this gateway"
_EXPIRED: Final = "the token has expired; get a new one"
_OPEN: Final = (
    'this gateway has no key and takes tokens of the form "dev:NAME" only ("dev-server:NAME" of '
    "app servers); "
    "start it with a key to use signed tokens"
)


class TokenRefused(PresenceError):
    """A token that does not say who its bearer is. `code` and `message` may be told to anybody."""

    definite = True

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__()
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class TokenVerifier:
    """Turns a token into an identity, or refuses it.

    Args:
        key: The secret shared with whoever mints the tokens; None for an open gateway.
        issuer: What ``iss`` must be; None where it does not matter.

    Raises:
        ConfigError: The key is too short to be one.
    """

    def __init__(self, key: bytes | None, *, issuer: str | None = None) -> None:
        if key is not None:
            _check_key(key)
        self._key = key
        self._issuer = issuer
        self._required = ["sub", "iat", "exp", "aud"] + (["iss"] if issuer is not None else [])

    @property
    def is_open(self) -> bool:
        """Whether anybody may call himself anything."""
        return self._key is None

    def verify(self, token: str) -> Identity:
        """Who the bearer of this token is.

        Raises:
            TokenRefused: Nobody that this gateway knows of.
        """
        if self._key is None:
            return _open_identity(token)
        if len(token) > _TOKEN_CHARACTERS_MAX:
            raise TokenRefused(ErrorCode.UNAUTHORIZED, _REFUSED)
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": self._required, "strict_aud": True},
            )
            return _identity(claims)
        except jwt.ExpiredSignatureError as error:
            # Only told to whoever holds a token that we signed.
            raise TokenRefused(ErrorCode.TOKEN_EXPIRED, _EXPIRED) from error
        except (jwt.PyJWTError, FrameRefused, *_UNREADABLE) as error:
            raise TokenRefused(ErrorCode.UNAUTHORIZED, _REFUSED) from error


def mint(
    user: str,
    *,
    key: bytes | None,
    ttl_ms: int = 3_600_000,
    namespace: str = DEFAULT_NAMESPACE,
    issuer: str | None = None,
    scopes: Iterable[Scope] = (),
) -> str:
    """A token that says who its bearer is; without a key, one for an open gateway.

    With scopes it is an app server's; an open gateway grants such a one all of them.

    Raises:
        ConfigError: The key is too short to be one.
        UsageError: Nobody can be called so, or the token would never be valid.
    """
    try:
        user = identifier(user, what="user")
    except FrameRefused as refused:
        raise UsageError(refused.message) from refused
    if not _is_namespace(namespace):
        raise UsageError(
            f"namespace {namespace!r}: give 1 to {_NAMESPACE_CHARACTERS_MAX} of A-Z a-z 0-9 _ . -"
        )
    granted = known_scopes(scopes)
    if key is None:
        if namespace != DEFAULT_NAMESPACE:
            raise UsageError(
                f"namespace {namespace!r}: an open gateway has the namespace "
                f"{DEFAULT_NAMESPACE!r} only",
                remedy="give a key",
            )
        return (OPEN_SERVER_PREFIX if granted else OPEN_PREFIX) + user
    _check_key(key)
    if ttl_ms < 1_000:  # noqa: PLR2004  # claims are in whole seconds
        raise UsageError(f"ttl {ttl_ms} ms: give at least 1s")
    now = int(time.time())
    claims: dict[str, object] = {
        "sub": user,
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + ttl_ms // 1_000,
        "ns": namespace,
    }
    if granted:
        claims["scope"] = " ".join(granted)
    if issuer is not None:
        claims["iss"] = issuer
    return jwt.encode(claims, key, algorithm=_ALGORITHM)


def _check_key(key: bytes) -> None:
    if len(key) < KEY_BYTES_MIN:
        # Never the key itself: errors end up in logs.
        raise ConfigError(
            "jwt_key",
            f"{len(key)} bytes",
            f"must have at least {KEY_BYTES_MIN} bytes; make one with: openssl rand -hex 32",
        )


def _open_identity(token: str) -> Identity:
    prefix = next((p for p in (OPEN_PREFIX, OPEN_SERVER_PREFIX) if token.startswith(p)), None)
    if prefix is None:
        raise TokenRefused(ErrorCode.UNAUTHORIZED, _OPEN)
    try:
        user = identifier(token.removeprefix(prefix), what="user")
    except FrameRefused as refused:
        raise TokenRefused(ErrorCode.UNAUTHORIZED, refused.message) from refused
    scopes = tuple(Scope) if prefix == OPEN_SERVER_PREFIX else ()
    return Identity(DEFAULT_NAMESPACE, UserId(user), scopes=scopes)


def _identity(claims: dict[str, object]) -> Identity:
    user, namespace, expiry = claims["sub"], claims.get("ns", DEFAULT_NAMESPACE), claims["exp"]
    scope = claims.get("scope", "")
    if not isinstance(user, str) or not _is_namespace(namespace) or not isinstance(scope, str):
        raise TypeError("a claim is of the wrong type")
    expiry_s, _ = _seconds(expiry), _seconds(claims["iat"])
    if expiry_s > _EXPIRY_S_MAX:
        raise ValueError("the expiry lies too far ahead")
    return Identity(
        Namespace(namespace),
        UserId(identifier(user, what="sub")),
        WallMs(int(expiry_s * 1_000)),
        known_scopes(scope.split(" ")),
    )


def _seconds(claim: object) -> float:
    # The library takes a text or a bool for a number, too.
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        raise TypeError("a claim of time is no number")
    return claim


def _is_namespace(namespace: object) -> TypeGuard[str]:
    return (
        isinstance(namespace, str)
        and 0 < len(namespace) <= _NAMESPACE_CHARACTERS_MAX
        and _NAMESPACE_CHARACTERS.issuperset(namespace)
    )
