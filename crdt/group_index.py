"""An index from something that many keys share to those keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crdt.rows import Key


class GroupIndex:
    """Keys by group; groups without keys take no room.

    >>> index = GroupIndex()
    >>> index.add("t", ("t", "b", "s"))
    >>> index.add("t", ("t", "a", "s"))
    >>> index.keys_of("t"), index.keys_of("u"), len(index)
    ([('t', 'a', 's'), ('t', 'b', 's')], [], 1)
    """

    __slots__ = ("_groups",)

    def __init__(self) -> None:
        #: {group: its keys}, none of them empty.
        self._groups: dict[str, set[Key]] = {}

    def __len__(self) -> int:
        return len(self._groups)

    def add(self, group: str, key: Key) -> None:
        """Put a key into a group."""
        self._groups.setdefault(group, set()).add(key)

    def discard(self, group: str, key: Key) -> None:
        """Take a key out of a group, if it is there."""
        keys = self._groups.get(group)
        if keys is None:
            return
        keys.discard(key)
        if not keys:
            del self._groups[group]

    def keys_of(self, group: str) -> list[Key]:
        """The keys of a group, sorted: the order of a set of strings differs between processes."""
        return sorted(self._groups.get(group, ()))
