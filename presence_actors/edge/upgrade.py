"""What becomes of a request for a WebSocket, decided before the upgrade, for any library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from multidict import CIMultiDictProxy, MultiMapping

from presence_actors.core.ids import ConnectionId
from presence_actors.core.vocabulary import ErrorCode
from presence_actors.edge.conn import Conn

__all__ = ["TOO_MANY", "Admitted", "Judge", "Refused", "UpgradeRequest", "offered_protocols"]


class UpgradeRequest(Protocol):
    """As much of a request as the decision needs."""

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The headers, by any case of their names."""
        ...

    @property
    def query(self) -> MultiMapping[str]:
        """The parameters behind the question mark."""
        ...

    @property
    def remote(self) -> str | None:
        """The address that it comes from."""
        ...


class Admitted(msgspec.Struct, frozen=True):
    """It gets its socket."""

    #: The subprotocol to answer with, if any.
    protocol: str | None
    #: Tells the driver of the connection.
    opened: Callable[[Conn], ConnectionId]
    #: Whether a client that closes with this code and reason is gone for good.
    says_goodbye: Callable[[int, str], bool]
    #: For how many ms it waits for its socket, since too many come; None: it gets none.
    wait_ms: Callable[[], int | None] = lambda: 0


class Refused(msgspec.Struct, frozen=True):
    """It gets an HTTP answer."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = {}
    #: Whether the answer takes its time, because its client asks again at once.
    late: bool = False


#: Of one that would wait for too long.
TOO_MANY: Final = Refused(503, ErrorCode.UNAVAILABLE, "too many come at once", late=True)

Judge = Callable[[UpgradeRequest], Admitted | Refused]


def offered_protocols(request: UpgradeRequest) -> list[str]:
    """The subprotocols that a client offers, in its order."""
    header = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    return [word.strip() for word in header.split(",")]
