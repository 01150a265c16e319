"""Times and sizes of peer links; beside each stands what happens there."""

import msgspec

from presence_actors.errors import ConfigError

_KIB = 1024
_MIB = 1024 * 1024


class LinkLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of every link of one hub. Times in milliseconds, sizes in bytes."""

    #: Payload of one frame. A longer one is refused by the sender; announced by a peer, it ends
    #: the link before a byte of it is kept.
    frame_bytes_max: int = 64 * _MIB
    #: The same until the peer has proved that it knows the secret.
    stranger_frame_bytes_max: int = 4 * _KIB
    #: Bytes that wait to be sent on one link. Beyond it frames are dropped and counted.
    queue_bytes_max: int = 64 * _MIB
    #: Distance of two keep-alives.
    keepalive_ms: int = 200
    #: After this silence the link is lost. Constraint: more than two keep-alives.
    silence_ms: int = 1000
    #: How long connecting may take; then the handshake, from connection to open.
    connect_ms: int = 500
    handshake_ms: int = 500
    #: Distance of two attempts to reach a target, +-20 % jitter.
    retry_ms: int = 200
    #: The same after the peer said that a later life of this node's name is linked.
    superseded_retry_ms: int = 2000
    #: The same for an address that was once reached: its peer may dial us by name meanwhile.
    seed_retry_ms: int = 1000
    #: Data that the other side's system has not acknowledged for so long ends the connection.
    unacknowledged_ms: int = 1500
    #: Accepted connections that have not finished their handshake. Beyond it new ones are closed.
    strangers_max: int = 256

    def check(self) -> None:
        """Raise `ConfigError` for the first limit that breaks its constraint."""
        for name in self.__struct_fields__:
            value: int = getattr(self, name)
            if value <= 0:
                raise ConfigError(f"links.{name}", value, "must be positive")
        if self.silence_ms <= 2 * self.keepalive_ms:
            raise ConfigError(
                "links.silence_ms",
                self.silence_ms,
                f"must be more than 2 x keepalive_ms = {2 * self.keepalive_ms}",
            )
        if self.frame_bytes_max >= 1 << 32:
            raise ConfigError("links.frame_bytes_max", self.frame_bytes_max, "must be below 2^32")
