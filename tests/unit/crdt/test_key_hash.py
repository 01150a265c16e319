"""Keys as 16 bytes."""

import pytest

from crdt import CrdtError, KeyHasher
from crdt.key_hash import _REMEMBERED_MAX

KEY = ("room:lobby", "alice", "s1")
EXPECTED = (1035244900741027062, 15724132618641713180)


def test_rows_of_one_topic_share_the_first_half_of_their_hash() -> None:
    """And rows of others do not."""
    hasher = KeyHasher(b"secret")
    assert hasher.words_of(KEY)[0] == hasher.topic_word("room:lobby")
    assert hasher.words_of(("room:other", *KEY[1:]))[0] != hasher.topic_word("room:lobby")


def test_where_one_name_ends_and_the_next_begins_makes_a_difference() -> None:
    """Names are not just run together."""
    hasher = KeyHasher()
    keys = [("t", "ab", "c"), ("t", "a", "bc"), ("t", "", "abc"), ("t", "abc", "")]
    assert len({hasher.words_of(key) for key in keys}) == len(keys)


def test_hashes_differ_by_secret_and_not_by_instance() -> None:
    """All zones that share the secret have the same; a fingerprint tells."""
    one, same, other = KeyHasher(b"secret"), KeyHasher(b"secret"), KeyHasher(b"terces")
    assert one.words_of(KEY) == same.words_of(KEY) != other.words_of(KEY)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_the_hash_is_the_one_that_others_have_stored() -> None:
    """It stands on disks and in messages: a change of it is a change of format."""
    assert KeyHasher(b"secret").hash_many([KEY]).tolist() == [
        list(KeyHasher(b"secret").words_of(KEY))
    ]
    assert KeyHasher(b"secret").words_of(KEY) == EXPECTED


def test_what_is_forgotten_is_hashed_anew() -> None:
    """The memory of hashes is bounded, and changes nothing."""
    hasher = KeyHasher()
    before = hasher.words_of(KEY)
    for number in range(_REMEMBERED_MAX + 1):
        hasher.words_of((f"room:{number}", "k", "s"))
    assert len(hasher._words) <= _REMEMBERED_MAX
    assert len(hasher._topics) <= _REMEMBERED_MAX
    assert hasher.words_of(KEY) == before


def test_half_a_surrogate_pair_can_be_asked_for() -> None:
    """Nobody has written it, but to look for it is no crime."""
    assert KeyHasher().words_of(("\ud800", "k", "s")) != KeyHasher().words_of(("\ud801", "k", "s"))


def test_a_secret_that_is_too_long_is_refused() -> None:
    """It would be cut, and two different ones be the same."""
    with pytest.raises(CrdtError, match="65 bytes"):
        KeyHasher(bytes(65))


def test_replicas_that_share_a_secret_of_another_use_hash_alike() -> None:
    """Whatever its length; what is derived is neither that secret nor its own derivation."""
    long = bytes(range(256))
    for secret in (b"", b"of the links", long):
        one = KeyHasher.derived_from(secret)
        assert one.words_of(KEY) == KeyHasher.derived_from(secret).words_of(KEY)
        assert one.fingerprint == KeyHasher.derived_from(secret).fingerprint
    secrets = (b"of the links", b"of the Links", long, long[:64])
    hashers = [KeyHasher.derived_from(secret) for secret in secrets]
    hashers += [KeyHasher(b"of the links"), KeyHasher(long[:64])]
    assert len({hasher.words_of(KEY) for hasher in hashers}) == len(hashers)
    assert len({hasher.fingerprint for hasher in hashers}) == len(hashers)
