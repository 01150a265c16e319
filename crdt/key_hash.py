"""Keys as 16 bytes: what a key is looked up, compared and sent by.

The first 8 bytes are a hash of the topic alone, so that all rows of a topic are found by what is in
their keys; the last 8 are one of topic, key and session.  Both are keyed with a *secret* of the
whole cluster: who chooses names without knowing it cannot make them collide, and a hash without a
secret would invite just that.  All zones share the secret, and it outlives restarts, since stored
and sent hashes mean nothing under another one.  The `KeyHasher.fingerprint` tells secrets apart
without telling them.

Two keys with one hash are refused where they meet (`crdt.errors.KeyCollision`), never merged.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import numpy as np

from crdt.errors import CrdtError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crdt.rows import Key

#: The two halves of a hash: of the topic, and of the whole key.
Words: TypeAlias = tuple[int, int]

_SECRET_SIZE_MAX: Final = 64
_HALF_SIZE: Final = 8
#: Of the derived secret, and what sets it apart from any other use of the one it is derived from.
_DERIVED_SIZE: Final = 32
_LABEL: Final = b"crdt key hash 1"
#: Hashes remembered; a key is looked up several times on its way through a replica.
_REMEMBERED_MAX: Final = 8192


class KeyHasher:
    """The hash of keys under one secret.

    >>> hasher = KeyHasher(b"of the cluster")
    >>> one = hasher.words_of(("room:lobby", "alice", "s1"))
    >>> other = hasher.words_of(("room:lobby", "bob", "s2"))
    >>> one[0] == other[0], one[1] == other[1], hasher.topic_word("room:lobby") == one[0]
    (True, False, True)
    """

    __slots__ = ("_entry_hash", "_topic_hash", "_topics", "_words", "fingerprint")

    def __init__(self, secret: bytes = b"") -> None:
        if len(secret) > _SECRET_SIZE_MAX:
            raise CrdtError(
                "KeyHasher",
                f"the secret has {len(secret)} bytes",
                f"give one of at most {_SECRET_SIZE_MAX}",
            )
        #: 8 bytes that are equal for equal secrets.
        self.fingerprint = blake2b(
            key=secret, digest_size=_HALF_SIZE, person=b"fingerprint"
        ).digest()
        self._topic_hash = blake2b(key=secret, digest_size=_HALF_SIZE, person=b"topic")
        self._entry_hash = blake2b(key=secret, digest_size=_HALF_SIZE, person=b"entry")
        self._topics: dict[str, int] = {}
        self._words: dict[Key, Words] = {}

    @classmethod
    def derived_from(cls, secret: bytes) -> Self:
        """The hash under a secret that is derived from one of another use, of any length.

        Whoever shares that one hashes alike, and neither of the two has to be sent.  What is
        derived, and its fingerprint, tell nothing of it.
        """
        root = secret if len(secret) <= _SECRET_SIZE_MAX else blake2b(secret).digest()
        return cls(blake2b(_LABEL, key=root, digest_size=_DERIVED_SIZE).digest())

    def topic_word(self, topic: str) -> int:
        """The first half of the hash of every key of a topic."""
        word = self._topics.get(topic)
        if word is None:
            word = _word(self._topic_hash, topic)
            if len(self._topics) >= _REMEMBERED_MAX:
                self._topics.clear()
            self._topics[topic] = word
        return word

    def words_of(self, key: Key) -> Words:
        """Both halves of the hash of a key."""
        words = self._words.get(key)
        if words is None:
            topic, user, session = key
            # With the lengths, since any character may be part of any name.
            text = f"{len(topic)},{len(user)};{topic}{user}{session}"
            words = (self.topic_word(topic), _word(self._entry_hash, text))
            if len(self._words) >= _REMEMBERED_MAX:
                self._words.clear()
            self._words[key] = words
        return words

    def hash_many(self, keys: Sequence[Key]) -> NDArray[np.uint64]:
        """uint64[n, 2], a hash for each key."""
        words = [self.words_of(key) for key in keys]
        return np.array(words, dtype=np.uint64).reshape(len(words), 2)


def _word(empty: blake2b, text: str) -> int:
    hashing = empty.copy()
    # Half a surrogate pair is never stored, but may be asked for.
    hashing.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashing.digest(), "little")
