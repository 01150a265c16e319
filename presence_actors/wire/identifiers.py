"""How a topic, a user or a session may be spelt.

Two spellings that look the same must be the same, so ids are brought to Unicode's form NFC; and
they stand in logs, tables and terminals, so control characters are refused.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from presence_actors.core.limits import ID_CHARACTERS_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.wire.refusals import FrameRefused

__all__ = ["ROOM", "USER", "identifier", "plain_text", "room_topic", "split_watched"]

ROOM: Final = "room:"
USER: Final = "user:"

#: Controls, lone surrogates, and the two separators that some terminals take for a new line.
_FORBIDDEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def identifier(text: str, *, what: str) -> str:
    """The one spelling of an id.

    >>> identifier("Zoe\u0308", what="user") == "Zo\u00eb"
    True

    Raises:
        FrameRefused: It is empty, too long, or has a control character.
    """
    if not text:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"{what} is empty; give 1 to {ID_CHARACTERS_MAX} characters"
        )
    if text.isascii():
        # Nearly all ids are: nothing to normalise, and `isprintable` is exact.
        normal, clean = text, text.isprintable()
    else:
        normal = unicodedata.normalize("NFC", text)
        clean = _is_clean(normal)
    if len(normal) > ID_CHARACTERS_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"{what} has {len(normal)} characters; at most {ID_CHARACTERS_MAX} are allowed",
        )
    if not clean:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"{what} has a control character; leave such characters out"
        )
    return normal


def plain_text(text: str, *, what: str, characters_max: int) -> str:
    """A short text for people, in form NFC; may be empty.

    Raises:
        FrameRefused: It is too long, or has a control character.
    """
    normal = unicodedata.normalize("NFC", text)
    if len(normal) > characters_max:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"{what} has {len(normal)} characters; at most {characters_max} are allowed",
        )
    if not _is_clean(normal):
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"{what} has a control character; leave such characters out"
        )
    return normal


def room_topic(text: str, *, what: str = "topic") -> str:
    """The topic of a room that a client may be in; the prefix may be left out.

    >>> room_topic("lobby"), room_topic("room:lobby")
    ('room:lobby', 'room:lobby')

    Raises:
        FrameRefused: No room can be called so, or it is the topic of a user.
    """
    if text.startswith(USER):
        raise FrameRefused(
            ErrorCode.FORBIDDEN,
            f"{what} {text[:ID_CHARACTERS_MAX]!r} is a user's, which only the gateway writes; "
            "name a room, or watch the user with sub",
        )
    return ROOM + identifier(text.removeprefix(ROOM), what=what)


def split_watched(topics: list[str], users: list[str]) -> tuple[list[str], list[str]]:
    """The rooms and the users that a client wants to watch, each once, in the order given.

    A topic ``user:alice`` means the user alice.

    >>> split_watched(["lobby", "user:bob"], ["alice"])
    (['room:lobby'], ['alice', 'bob'])

    Raises:
        FrameRefused: A room or user cannot be called so.
    """
    rooms: dict[str, None] = {}
    people: dict[str, None] = {}
    for index, user in enumerate(users):
        people[identifier(user, what=f"users[{index}]")] = None
    for index, topic in enumerate(topics):
        what = f"topics[{index}]"
        if topic.startswith(USER):
            people[identifier(topic.removeprefix(USER), what=what)] = None
        else:
            rooms[room_topic(topic, what=what)] = None
    return list(rooms), list(people)


def _is_clean(text: str) -> bool:
    return not any(unicodedata.category(character) in _FORBIDDEN for character in text)
