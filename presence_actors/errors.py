"""Every error that this package raises on purpose.

    PresenceError                      root; .definite: did it certainly not happen?
    ├── ConfigError                    a knob, its value, the constraint it breaks
    ├── UsageError                     the caller's fault (also a ValueError)
    ├── Unavailable                    indefinite unless said otherwise; .retry_after_ms
    │   ├── GatewayBusy                definite: refused at the limit
    │   └── ShardUnreachable           indefinite
    ├── SessionLost                    the lease ran out or another connection took the session
    └── ProtocolError                  abstract
        ├── LocalProtocolError         we would have broken the protocol
        └── RemoteProtocolError        the peer did; .peer, .reason
            └── VersionRefused

`InvariantBroken` stands outside the tree: nobody may treat our own fault as an ordinary refusal.

Each error carries data, and its text says what is wrong, where, and what to do. They survive
pickling, since some of them cross process boundaries inside Ray.
"""

from collections.abc import Sequence


class PresenceError(Exception):
    """The root of the tree."""

    #: True when the operation certainly had no effect. When in doubt: False.
    definite: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the attributes: keyword-only constructors do not pickle by themselves."""
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[PresenceError], attributes: dict[str, object]) -> PresenceError:
    error = kind.__new__(kind)
    error.__dict__.update(attributes)
    return error


class ConfigError(PresenceError):
    """A knob has a value that breaks its constraint."""

    definite = True

    def __init__(self, knob: str, value: object, constraint: str) -> None:
        super().__init__()
        self.knob = knob
        self.value = value
        self.constraint = constraint

    def __str__(self) -> str:
        return f"{self.knob} = {self.value!r}: {self.constraint}"


class UsageError(PresenceError, ValueError):
    """The caller asked for something that this call does not do."""

    definite = True

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return _sentence(self.reason, self.remedy)


class Unavailable(PresenceError):
    """Nobody could answer in time; whether it happened is unknown unless `definite`."""

    def __init__(self, *, what: str, where: str, retry_after_ms: int | None = None) -> None:
        super().__init__()
        self.what = what
        self.where = where
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        remedy = "" if self.retry_after_ms is None else f"try again in {self.retry_after_ms} ms"
        return _sentence(f"{self.what} at {self.where}", remedy)


class GatewayBusy(Unavailable):
    """The gateway is at a limit and refused before it did anything."""

    definite = True


class ShardUnreachable(Unavailable):
    """No replica of a shard answers."""


class SessionLost(PresenceError):
    """The session's lease ran out, or another connection took the session."""

    def __init__(self, *, session: str, reason: str) -> None:
        super().__init__()
        self.session = session
        self.reason = reason

    def __str__(self) -> str:
        return _sentence(f"session {self.session}: {self.reason}", "start a new session")


class ProtocolError(PresenceError):
    """The rules of a protocol are, or would be, broken. Abstract: raise one of its children."""


class LocalProtocolError(ProtocolError):
    """We would have broken the protocol; nothing was sent and nothing has changed."""

    definite = True

    def __init__(self, reason: str, *, remedy: str = "") -> None:
        super().__init__()
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return _sentence(self.reason, self.remedy)


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; what it sent was refused and changed nothing.

    Attributes:
        peer: Who, as far as is known: a node id, or an address.
        code: One word for counters and for the refusal that is sent to the peer.
        reason: What was wrong.
        remedy: What to do about it.
    """

    definite = True

    def __init__(self, *, peer: str, code: str, reason: str, remedy: str = "") -> None:
        super().__init__()
        self.peer = peer
        self.code = code
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return _sentence(f"{self.peer}: {self.reason}", self.remedy)


class VersionRefused(RemoteProtocolError):
    """The peer speaks no version of the protocol that we speak."""

    def __init__(self, *, peer: str, theirs: int, ours: Sequence[int]) -> None:
        spoken = ", ".join(str(version) for version in ours)
        super().__init__(
            peer=peer,
            code="version",
            reason=f"speaks protocol version {theirs}; this side speaks {spoken}",
            remedy="run releases that share a version on both sides",
        )
        self.theirs = theirs
        self.ours = tuple(ours)


class InvariantBroken(Exception):
    """An invariant of ours does not hold. The actor that sees it must end.

    Unlike `assert`, it cannot be stripped by `python -O`.
    """


def _sentence(what: str, remedy: str) -> str:
    return f"{what}; {remedy}" if remedy else what
