"""The OpenAPI document of this server, at ``/v1/openapi.json``.

What bodies look like comes from the types that make them; which answers a request may get stands
here, and a test holds that each of them can be had and that no route is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Final

import msgspec

from presence_actors.core.effects import TopicAnswer
from presence_actors.core.limits import QUERY_ENTRIES_MAX
from presence_actors.core.policy import Scope
from presence_actors.core.vocabulary import StatusFrame
from presence_actors.edge.acts import Carried, Chosen, Ended, Kicked
from presence_actors.wire.requests import HeartbeatBody, IntentBody, PresenceBody

__all__ = ["Operation", "document", "operations"]

_REF: Final = "#/components/schemas/"
_JSON: Final = "application/json"


class Failure(msgspec.Struct, frozen=True):
    """A refusal: a code for programs and a sentence for people."""

    code: str
    message: str


class Stale(msgspec.Struct, frozen=True):
    """Not new enough, or not known at all yet: how much is known, and as of when."""

    code: str
    message: str
    quality: str
    as_of: int | None


class Users(msgspec.Struct, frozen=True):
    """What these users show, in the order asked for."""

    users: list[StatusFrame]
    cursor: str | None


class Health(msgspec.Struct, frozen=True):
    """The process works."""

    status: str
    gateway: str


class Readiness(msgspec.Struct, frozen=True):
    """Whether clients may be sent here, and where the machine stands."""

    ready: bool
    gateway: str
    machine: dict[str, object]


class Polled(msgspec.Struct, frozen=True):
    """What a Phoenix client is told that polls; its status stands here, as in Phoenix."""

    status: int
    #: Of the client's session.
    token: str | None = None
    #: Frames.
    messages: list[str] = []


class Edge(msgspec.Struct, frozen=True):
    """Connections, and what happened to them."""

    connections: int
    unauthenticated: int
    counts: dict[str, int]


class Stats(msgspec.Struct, frozen=True):
    """What the gateway and its machine count."""

    gateway: str
    edge: Edge
    machine: dict[str, object]


#: The body of an answer: a type; a media type that has no schema; or none at all.
Body = type | str | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may be asked."""

    method: str
    path: str
    summary: str
    #: What a token must have; empty where none is needed.
    scope: str = ""
    #: Parameters behind the question mark: name, what it means, and whether it must be there.
    query: tuple[tuple[str, str, bool], ...] = ()
    body: type | None = None
    #: The media type of a body that has no schema here.
    takes: str = ""
    answers: dict[int, tuple[str, Body]]


_REFUSED: Final[dict[int, tuple[str, Body]]] = {
    400: ("A name, parameter or field that cannot be.", Failure),
    401: ("No token, or one that is not good here.", Failure),
    403: ("The token lacks the scope, or this is nobody's to ask.", Failure),
    409: ("The session was kicked; it does not go on under this name.", Failure),
    413: ("The body is too big.", Failure),
    429: ("Too often; see Retry-After.", Failure),
    503: ("Not now, and for an act: perhaps. Say it again after Retry-After.", Failure),
}
_NEWS: Final = (
    ("cursor", "From an earlier answer: only what changed since then.", False),
    ("wait", "If nothing changed, how long to wait for a change, such as 30s.", False),
    ("max_staleness", "503 instead of an answer of which a part is older.", False),
)
_READ: Final = Scope.READ.value
_OWN: Final = "the token of a user"
_FOREIGN: Final = "Pages of this origin may not ask."


def _answers(*statuses: int, **others: tuple[str, Body]) -> dict[int, tuple[str, Body]]:
    given = {int(name.removeprefix("s")): answer for name, answer in others.items()}
    refused = {status: _REFUSED[status] for status in statuses}
    return dict(sorted({**refused, **given}.items()))


def _reading() -> list[Operation]:
    stale = ("Not new enough, or no answer in time.", Stale)
    same = ("Nothing changed since the answer with this ETag.", None)
    return [
        Operation(
            method="get",
            path="/v1/topics/{topic}",
            summary="Who is in a room: a page of it, or what changed since a cursor.",
            scope=_READ,
            query=(
                ("limit", f"Entries of a page, 1 to {QUERY_ENTRIES_MAX}.", False),
                ("page", "What `next` of the page before says.", False),
                *_NEWS,
            ),
            answers=_answers(400, 401, 403, s200=("The room.", TopicAnswer), s304=same, s503=stale),
        ),
        Operation(
            method="get",
            path="/v1/users",
            summary="What users show.",
            scope=_READ,
            query=(("ids", "Users with commas between; may come several times.", True), *_NEWS),
            answers=_answers(400, 401, 403, s200=("The users.", Users), s304=same, s503=stale),
        ),
        Operation(
            method="get",
            path="/v1/events",
            summary="A stream of server-sent events about rooms and users.",
            scope=_READ,
            query=(
                ("topics", "Rooms with commas between; may come several times.", False),
                ("users", "Users with commas between; may come several times.", False),
                ("cursor", "The id of the last event; or the header Last-Event-ID.", False),
            ),
            answers=_answers(400, 401, 403, 503, s200=("The stream.", "text/event-stream")),
        ),
        Operation(
            method="get",
            path="/v1/stats",
            summary="What this gateway counts.",
            scope=_READ,
            answers=_answers(401, 403, s200=("The counts.", Stats)),
        ),
    ]


def _acting() -> list[Operation]:
    reason = (("reason", "Why, in words for the user.", False),)
    kicked = ("These sessions end.", Kicked)
    return [
        Operation(
            method="delete",
            path="/v1/users/{user}/sessions",
            summary="End all sessions that a user has now.",
            scope=Scope.KICK,
            query=reason,
            answers=_answers(400, 401, 403, 503, s200=kicked),
        ),
        Operation(
            method="delete",
            path="/v1/users/{user}/sessions/{ref}",
            summary="End the session that the entry with this ref is of.",
            scope=Scope.KICK,
            query=reason,
            answers=_answers(400, 401, 403, 503, s200=kicked),
        ),
        Operation(
            method="put",
            path="/v1/users/{user}/intent",
            summary="Choose what a user shows on all devices.",
            scope=Scope.INTENT,
            body=IntentBody,
            answers=_answers(400, 401, 403, 413, 503, s200=("The choice.", Chosen)),
        ),
        Operation(
            method="delete",
            path="/v1/users/{user}/intent",
            summary="Take the choice back.",
            scope=Scope.INTENT,
            answers=_answers(400, 401, 403, 503, s200=("No choice.", Chosen)),
        ),
        Operation(
            method="put",
            path="/v1/users/{user}/presence/{session}",
            summary="Have a user be here by a device without a socket, or renew that.",
            scope=Scope.PUBLISH,
            body=PresenceBody,
            answers=_answers(400, 401, 403, 409, 413, 503, s200=("It is here.", Carried)),
        ),
        Operation(
            method="delete",
            path="/v1/users/{user}/presence/{session}",
            summary="End that at once.",
            scope=Scope.PUBLISH,
            answers=_answers(400, 401, 403, 503, s200=("It is not here.", Ended)),
        ),
        Operation(
            method="post",
            path="/v1/heartbeat",
            summary="A device without a socket is here: start, or renew.",
            scope=_OWN,
            body=HeartbeatBody,
            answers=_answers(400, 401, 403, 409, 413, 429, 503, s200=("It is here.", Carried)),
        ),
        Operation(
            method="delete",
            path="/v1/heartbeat",
            summary="It is here no longer.",
            scope=_OWN,
            query=(("session", "What the device calls itself.", True),),
            answers=_answers(400, 401, 429, 503, s200=("It is not here.", Ended)),
        ),
    ]


def _polling() -> list[Operation]:
    """Phoenix's way without a socket."""
    path, foreign = "/socket/longpoll", (_FOREIGN, Failure)
    return [
        Operation(
            method="get",
            path=path,
            summary="Begin a session of a Phoenix client that polls, or poll.",
            query=(("vsn", "1.0.0 or 2.0.0.", False), ("token", "Of the session, or user.", False)),
            answers=_answers(s200=("What there is to say.", Polled), s403=foreign),
        ),
        Operation(
            method="post",
            path=path,
            summary="Frames of such a client, one in a line.",
            query=(("token", "Of the session.", False),),
            takes="application/x-ndjson",
            answers=_answers(413, s200=("Whether they were taken.", Polled), s403=foreign),
        ),
        Operation(
            method="options",
            path=path,
            summary="Whether a page of another origin may ask.",
            answers=_answers(s204=("It may.", None), s403=foreign),
        ),
    ]


def _speaking() -> list[Operation]:
    """Supabase's way to say something without a socket, and what a browser asks before."""
    found: list[Operation] = []
    for path, summary in (
        ("/realtime/v1/api/broadcast", "Say several things in rooms, as Supabase clients do."),
        ("/realtime/v1/api/broadcast/{topic}/events/{event}", "Say one thing in a room."),
    ):
        found += [
            Operation(
                method="post",
                path=path,
                summary=summary,
                scope=_OWN,
                takes="*/*",
                answers=_answers(
                    400, 401, 413, 429, s202=("It was said.", None), s403=(_FOREIGN, Failure)
                ),
            ),
            Operation(
                method="options",
                path=path,
                summary="Whether a page of another origin may ask.",
                answers=_answers(s204=("It may.", None), s403=(_FOREIGN, Failure)),
            ),
        ]
    return found


def _sockets() -> list[Operation]:
    upgraded = ("The socket; docs/protocol.md and others say what is spoken.", None)
    full = ("No room now, or this gateway is being emptied.", Failure)
    plain = ("No upgrade was asked for.", Failure)
    found = [
        Operation(
            method="get",
            path="/ws",
            summary="The WebSocket of native clients.",
            answers=_answers(
                s101=upgraded,
                s400=("No subprotocol of ours is offered.", Failure),
                s403=(_FOREIGN, Failure),
                s426=plain,
                s503=full,
            ),
        )
    ]
    for path, whose, token in (
        ("/socket/websocket", "Phoenix", "token"),
        ("/realtime/v1/websocket", "Supabase", "apikey"),
    ):
        query = (("vsn", "1.0.0 or 2.0.0.", False), (token, "The token of the user.", False))
        refused = ("No token of ours, or pages of this origin may not ask.", Failure)
        found.append(
            Operation(
                method="get",
                path=path,
                summary=f"The WebSocket of {whose} clients.",
                query=query,
                answers=_answers(s101=upgraded, s403=refused, s426=plain, s503=full),
            )
        )
    return found


def _open() -> list[Operation]:
    missing = ("There is no such file.", Failure)
    return [
        Operation(
            method="get",
            path="/healthz",
            summary="Whether the process works.",
            answers=_answers(s200=("It works.", Health), s503=("It has stopped.", Failure)),
        ),
        Operation(
            method="get",
            path="/readyz",
            summary="Whether clients may be sent here.",
            answers=_answers(s200=("They may.", Readiness), s503=("Not yet.", Readiness)),
        ),
        Operation(
            method="get",
            path="/v1/openapi.json",
            summary="This document.",
            answers=_answers(s200=("The document.", _JSON)),
        ),
        Operation(
            method="get",
            path="/",
            summary="A page for people that shows who is here.",
            answers=_answers(s200=("The page.", "text/html")),
        ),
        Operation(
            method="get",
            path="/static/{name}",
            summary="A file of that page.",
            answers=_answers(s200=("The file.", "text/css"), s404=missing),
        ),
    ]


def operations() -> list[Operation]:
    """All that may be asked of this server."""
    return [*_reading(), *_acting(), *_sockets(), *_polling(), *_speaking(), *_open()]


def document() -> dict[str, object]:
    """The document, in OpenAPI 3.1."""
    asked = operations()
    bodies = {
        body.__name__: body
        for operation in asked
        for body in (operation.body, *(body for _, body in operation.answers.values()))
        if isinstance(body, type)
    }
    _, schemas = msgspec.json.schema_components(
        bodies.values(), schema_hook=_anything, ref_template=_REF + "{name}"
    )
    paths: dict[str, dict[str, object]] = {}
    for operation in asked:
        paths.setdefault(operation.path, {})[operation.method] = _spelt(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "presence-actors",
            "version": version("presence-actors"),
            "summary": "Who is here, and what they show.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256; the claim `scope` makes it an app server's.",
                }
            },
        },
    }


def _spelt(operation: Operation) -> dict[str, object]:
    spelt: dict[str, object] = {
        "operationId": _name_of(operation),
        "summary": operation.summary,
        "parameters": [*_in_path(operation.path), *_in_query(operation.query)],
        "responses": {
            str(status): _response(description, body)
            for status, (description, body) in operation.answers.items()
        },
    }
    if operation.scope:
        # Schemes of this kind have no scopes in OpenAPI 3.1, but may list roles.
        spelt["security"] = [{"bearer": [] if operation.scope == _OWN else [operation.scope]}]
    if operation.takes:
        spelt["requestBody"] = {"required": True, "content": {operation.takes: {}}}
    if operation.body is not None:
        spelt["requestBody"] = {
            "required": True,
            "content": {_JSON: {"schema": {"$ref": _REF + operation.body.__name__}}},
        }
    return spelt


def _name_of(operation: Operation) -> str:
    parts = [part.strip("{}") for part in operation.path.split("/") if part]
    return "-".join([operation.method, *(parts or ["page"])]).replace(".", "-")


def _in_path(path: str) -> Iterable[dict[str, object]]:
    for part in path.split("/"):
        if part.startswith("{"):
            yield {
                "name": part.strip("{}"),
                "in": "path",
                "required": True,
                "schema": {"type": "string"},
            }


def _in_query(query: Iterable[tuple[str, str, bool]]) -> Iterable[dict[str, object]]:
    for name, description, required in query:
        yield {
            "name": name,
            "in": "query",
            "required": required,
            "description": description,
            "schema": {"type": "string"},
        }


def _response(description: str, body: Body) -> dict[str, object]:
    if body is None:
        return {"description": description}
    if isinstance(body, str):
        return {"description": description, "content": {body: {}}}
    schema = {"$ref": _REF + body.__name__}
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _anything(kind: type) -> dict[str, object]:
    """The schema of what may be any JSON."""
    if kind is not object:
        raise NotImplementedError(kind)
    return {"description": "Any JSON."}
