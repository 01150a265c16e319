"""The index of keys by group, call by call."""

from crdt.group_index import GroupIndex


def test_a_group_without_keys_takes_no_room() -> None:
    """The last key that leaves takes its group with it."""
    index = GroupIndex()
    key = ("t", "k", "s")
    index.add("t", key)
    index.add("t", key)
    index.discard("t", key)
    index.discard("t", key)
    assert (index.keys_of("t"), len(index)) == ([], 0)


def test_keys_come_sorted() -> None:
    """Whatever the order in which they came."""
    index = GroupIndex()
    for name in "bca":
        index.add("t", ("t", name, "s"))
    assert [key for _, key, _ in index.keys_of("t")] == ["a", "b", "c"]
