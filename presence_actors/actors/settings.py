"""What every actor is given at its creation, and keeps over restarts."""

from typing import Final

import msgspec

from presence_actors.config import ClusterConfig

#: What peer links call themselves in handshakes, in every zone alike.
SERVICE: Final = "presence"


class Secret(msgspec.Struct, frozen=True):
    """Bytes that must not show up in a log or a trace."""

    value: bytes

    def __repr__(self) -> str:
        return "Secret(...)"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the cluster and its secrets.

    They reach the actors as arguments of their constructors, through Ray: whoever can talk to this
    Ray could run code as us anyway, and a restart by Ray needs nobody to hand them over again.
    """

    config: ClusterConfig
    #: Peer links prove to each other that they know it.
    link_secret: Secret
    #: What clients' tokens are signed with; None: gateways are open, on loopback only.
    token_key: Secret | None = None
    #: Web origins that may connect beside the gateway's own.
    allowed_origins: tuple[str, ...] = ()
    #: What notices to app servers are signed with (`config.webhook`).
    webhook_key: Secret | None = None


def namespace_of(zone: str) -> str:
    """The Ray namespace of a zone's actors."""
    return f"presence-{zone}"
