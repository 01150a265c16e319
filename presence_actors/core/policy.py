"""Who may do what, by the scopes of a verified token.

People's tokens have no scopes: they say who somebody is, and everybody may speak for himself. The
token of an app server has at least one, and each lets it do one kind of thing to others.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

__all__ = ["Scope", "known_scopes"]


class Scope(enum.StrEnum):
    """What an app server may do, as its token spells it."""

    #: Read over HTTP who is here, where a token alone does not suffice for that.
    READ = "presence:read"
    #: End sessions of others.
    KICK = "presence:kick"
    #: Choose for others what they show.
    INTENT = "presence:intent"
    #: Have others be here who have no socket.
    PUBLISH = "presence:publish"


def known_scopes(words: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes among these words, each once, in one order; others are another server's business.

    >>> known_scopes(["mail:send", "presence:kick"])
    (<Scope.KICK: 'presence:kick'>,)
    """
    given = dict.fromkeys(words)
    return tuple(scope for scope in Scope if scope.value in given)
