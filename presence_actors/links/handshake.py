"""Who is at the other end: hello, proof, refusal.

Both sides send a *hello* at once, and on reading the other's a *proof*: an HMAC-SHA256 under the
cluster's secret over both hellos and the side of the prover. Both nonces are fresh, so a recorded
proof is worth nothing; the side is in it, so a proof cannot be reflected; names, lives, roles and
shard counts are in it, so none can be swapped on the way. The proof authenticates the start of a
connection and not each frame: between zones that do not trust their network, run links through TLS.

A hello is read version first, and unknown fields are ignored: it is the one frame that every
version must be able to read of every other.
"""

import hashlib
import hmac
from enum import Enum
from typing import Annotated, Final, Literal, TypeVar, cast

import msgspec

from presence_actors.core.ids import NodeId, NodeName, name_of
from presence_actors.errors import ConfigError, RemoteProtocolError, VersionRefused

#: The version of the link protocol. A wrong one is refused before anything else is looked at.
PROTOCOL: Final = 1
NONCE_SIZE: Final = 32
SECRET_SIZE_MIN: Final = 16
SHARDS_MAX: Final = 4096

Role = Literal["worker", "gateway"]
ROLES: Final = ("worker", "gateway")

_NODE_PATTERN: Final = r"^[^/\s]{1,64}/[^/\s]{1,64}/[^/\s]{1,64}$"
#: How much of a peer's refusal text is believed and shown.
_REFUSAL_CHARACTERS_MAX: Final = 300

_T = TypeVar("_T")


class Side(Enum):
    """Which end of a connection."""

    DIALER = b"dialer"
    LISTENER = b"listener"

    @property
    def other(self) -> "Side":
        """The opposite end."""
        return Side.LISTENER if self is Side.DIALER else Side.DIALER


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """The first frame of each side: who I say I am."""

    protocol: int
    cluster: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    node: Annotated[str, msgspec.Meta(pattern=_NODE_PATTERN)]
    role: Role
    nonce: Annotated[bytes, msgspec.Meta(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]
    #: Into how many slices all topics are cut; 0 if that is not told.
    shards: Annotated[int, msgspec.Meta(ge=0, le=SHARDS_MAX)] = 0


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The last frame before a side closes on purpose: one word, and a sentence for people."""

    code: Annotated[str, msgspec.Meta(pattern="^[a-z_]{1,32}$")]
    reason: str
    protocol: int = PROTOCOL


class _Version(msgspec.Struct, frozen=True):
    """The part of a hello that every version has."""

    protocol: int


class LinkIdentity:
    """Who this side is, and the secret it shares with its cluster. The secret is never shown.

    Raises:
        ConfigError: A name cannot be told to a peer, or the secret is too short.
    """

    __slots__ = ("cluster", "node", "role", "secret", "shards")

    def __init__(
        self, *, cluster: str, node: NodeId, role: str, secret: bytes, shards: int = 0
    ) -> None:
        if len(secret) < SECRET_SIZE_MIN:
            raise ConfigError(
                "secret", f"<{len(secret)} bytes>", f"must have at least {SECRET_SIZE_MIN} bytes"
            )
        if role not in ROLES:
            raise ConfigError("role", role, f"must be one of {', '.join(ROLES)}")
        self.cluster = cluster
        self.node = node
        self.role = cast("Role", role)
        self.secret = secret
        self.shards = shards
        try:
            msgspec.convert(msgspec.to_builtins(self.hello(bytes(NONCE_SIZE))), Hello)
        except msgspec.ValidationError as error:
            raise ConfigError(
                "node, cluster, shards",
                f"{node}, {cluster}, {shards}",
                f"must be zone/name/incarnation: {error}",
            ) from error

    def __repr__(self) -> str:
        return f"LinkIdentity({self.node}, {self.role}, cluster={self.cluster!r})"

    def hello(self, nonce: bytes) -> Hello:
        """My hello for one connection; `nonce` must be random and never used before."""
        return Hello(
            protocol=PROTOCOL,
            cluster=self.cluster,
            node=self.node,
            role=self.role,
            nonce=nonce,
            shards=self.shards,
        )

    def proof(self, prover: Side, *, dialer: Hello, listener: Hello) -> bytes:
        """What only a holder of the secret can say about this pair of hellos."""
        parts = [b"presence link proof 1", prover.value]
        for hello in (dialer, listener):
            parts += [
                hello.cluster.encode(),
                hello.node.encode(),
                hello.role.encode(),
                hello.nonce,
                str(hello.shards).encode(),
            ]
        # Each part with its length in front: no two lists of parts give the same bytes.
        transcript = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self.secret, transcript, hashlib.sha256)

    def judge_hello(self, hello: Hello, *, expected: NodeName | None) -> None:
        """Accept a peer's hello, as far as words go; its proof is still to come.

        Args:
            hello: What the peer said.
            expected: Whom we meant to reach; None when the peer came to us.

        Raises:
            RemoteProtocolError: It belongs to another cluster, cuts the topics into another number
                of shards, is somebody else than expected, or has our own name.
        """
        if hello.cluster != self.cluster:
            raise RemoteProtocolError(
                peer=hello.node,
                code="cluster",
                reason=f"belongs to cluster {hello.cluster!r} and not to {self.cluster!r}",
                remedy="check the address and the cluster's name on both sides",
            )
        if hello.shards and self.shards and hello.shards != self.shards:
            raise RemoteProtocolError(
                peer=hello.node,
                code="shards",
                reason=f"has {hello.shards} shards and {name_of(self.node)} has {self.shards}",
                remedy="give all zones the same number: up --shards",
            )
        if name_of(hello.node) == name_of(self.node):
            raise RemoteProtocolError(
                peer=hello.node,
                code="self",
                reason="has this node's own name",
                remedy="give every node a name of its own, and no node itself as a target",
            )
        if expected is not None and name_of(hello.node) != expected:
            raise RemoteProtocolError(
                peer=hello.node,
                code="name",
                reason=f"answers at the address of {expected}",
                remedy="look the address up again",
            )


def read_hello(payload: bytes) -> Hello:
    """A peer's hello.

    Raises:
        VersionRefused: Its version is not ours.
        RemoteProtocolError: It is malformed.
    """
    version = _decoded(payload, _Version, "hello").protocol
    if version != PROTOCOL:
        raise VersionRefused(peer="peer", theirs=version, ours=[PROTOCOL])
    return _decoded(payload, Hello, "hello")


def name_in_hello(payload: bytes) -> NodeName | None:
    """Whose hello this claims to be; None when it cannot be read."""
    try:
        return name_of(read_hello(payload).node)
    except RemoteProtocolError:
        return None


def read_refusal(payload: bytes) -> Refusal:
    """Why the peer will have no link; its text is cut and made safe to print.

    Raises:
        RemoteProtocolError: It is malformed.
    """
    refusal = _decoded(payload, Refusal, "refusal")
    reason = refusal.reason[:_REFUSAL_CHARACTERS_MAX]
    return Refusal(
        code=refusal.code,
        reason="".join(sign if sign.isprintable() else "?" for sign in reason),
        protocol=refusal.protocol,
    )


def wrong_proof(peer: str) -> RemoteProtocolError:
    """The refusal of a peer that does not know the secret."""
    return RemoteProtocolError(
        peer=peer,
        code="proof",
        reason="does not know the cluster's secret",
        remedy="give both sides the same secret",
    )


def _decoded(payload: bytes, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.msgpack.decode(payload, type=kind)
    # Besides its own errors msgspec lets through what the text codec (a ValueError) and the depth
    # guard say.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(
            peer="peer",
            code="malformed",
            reason=f"sent a {what} that cannot be read: {error}",
            remedy="check that both sides run this software",
        ) from error
