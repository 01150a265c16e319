"""What a request over HTTP asks for: its parameters, checked, and refused with a sentence."""

from __future__ import annotations

from typing import Final

import msgspec
from multidict import MultiMapping

from presence_actors.config import parse_duration
from presence_actors.core.ids import UserId
from presence_actors.core.limits import QUERY_ENTRIES_MAX, QUERY_TOPICS_MAX
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.errors import ConfigError
from presence_actors.wire.identifiers import identifier
from presence_actors.wire.native_messages import CURSOR_CHARACTERS_MAX
from presence_actors.wire.refusals import FrameRefused

__all__ = ["Asked", "asked_of", "cursor_of", "named_in", "only", "users_of"]

#: How long a poll may wait for news: less than proxies wait for an answer.
WAIT_MS_MAX: Final = 55_000
_REF_CHARACTERS_MAX: Final = 64


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """How a poll wants its answer."""

    cursor: str | None = None
    wait_ms: int = 0
    max_staleness_ms: int | None = None
    limit: int = QUERY_ENTRIES_MAX
    after: str = ""


def asked_of(query: MultiMapping[str], *, paged: bool, beside: tuple[str, ...] = ()) -> Asked:
    """How a poll wants its answer.

    Args:
        query: The parameters of the address.
        paged: Whether the answer may come in pages.
        beside: Parameters that are not read here, and may come several times.

    Raises:
        FrameRefused: A parameter is unknown, comes twice, or has a value that it cannot have.
    """
    known = ("cursor", "wait", "max_staleness", *(("limit", "page") if paged else ()))
    only(query, known=(*beside, *known), repeated=beside)
    values = {name: query[name] for name in known if name in query}
    cursor = cursor_of(values.get("cursor"))
    if "wait" in values and cursor is None:
        raise FrameRefused(
            ErrorCode.BAD_FRAME,
            "wait wants a cursor: give that of the last answer, so that nothing is missed",
        )
    if "page" in values and cursor is not None:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, "page and cursor are two things: give page, or cursor, not both"
        )
    after = values.get("page", "")
    if len(after) > _REF_CHARACTERS_MAX:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, 'page is no page of ours; give what "next" of an answer says'
        )
    stale = values.get("max_staleness")
    return Asked(
        cursor=cursor,
        wait_ms=0 if "wait" not in values else _duration("wait", values["wait"], most=WAIT_MS_MAX),
        max_staleness_ms=None if stale is None else _duration("max_staleness", stale),
        limit=_limit(values.get("limit")),
        after=after,
    )


def users_of(query: MultiMapping[str]) -> list[UserId]:
    """Who is asked about: ``?ids=alice,bob&ids=carol``, each once.

    Raises:
        FrameRefused: Nobody, too many, or somebody who cannot be called so.
    """
    named = named_in(query, "ids")
    if not named:
        raise FrameRefused(ErrorCode.BAD_FRAME, "name at least one user: ?ids=alice,bob")
    if len(named) > QUERY_TOPICS_MAX:
        raise FrameRefused(
            ErrorCode.TOO_MANY, f"{len(named)} users; at most {QUERY_TOPICS_MAX} are allowed"
        )
    users = [identifier(name, what=f"ids[{index}]") for index, name in enumerate(named)]
    return [UserId(user) for user in dict.fromkeys(users)]


def named_in(query: MultiMapping[str], parameter: str) -> list[str]:
    """The names in a parameter that may come several times, each time with a list."""
    return [name for names in query.getall(parameter, []) for name in names.split(",")]


def cursor_of(text: str | None, *, what: str = "cursor") -> str | None:
    """A cursor, if it may be one.

    Raises:
        FrameRefused: It is longer than any.
    """
    if text is not None and len(text) > CURSOR_CHARACTERS_MAX:
        raise FrameRefused(
            ErrorCode.TOO_LONG,
            f"{what} has {len(text)} characters; at most {CURSOR_CHARACTERS_MAX} are allowed",
        )
    return text


def only(
    query: MultiMapping[str], *, known: tuple[str, ...], repeated: tuple[str, ...] = ()
) -> None:
    """Nothing but these parameters, each once unless it may be repeated.

    Raises:
        FrameRefused: A parameter is unknown, or comes twice.
    """
    for name in query:
        if name not in known:
            raise FrameRefused(
                ErrorCode.BAD_FRAME,
                f"no parameter {name[:40]!r} here; known are {', '.join(known)}",
            )
        if name not in repeated and len(query.getall(name)) > 1:
            raise FrameRefused(ErrorCode.BAD_FRAME, f"the parameter {name} comes twice")


def _duration(name: str, text: str, *, most: int | None = None) -> int:
    try:
        span_ms = parse_duration(name, text[:40])
    except ConfigError as error:
        raise FrameRefused(ErrorCode.BAD_FRAME, str(error)) from error
    if most is not None and span_ms > most:
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"{name} is {span_ms} ms; at most {most} ms are allowed"
        )
    return span_ms


def _limit(text: str | None) -> int:
    if text is None:
        return QUERY_ENTRIES_MAX
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= QUERY_ENTRIES_MAX):
        raise FrameRefused(
            ErrorCode.BAD_FRAME, f"limit = {text[:40]!r}: must be 1 to {QUERY_ENTRIES_MAX}"
        )
    return int(text)
