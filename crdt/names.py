"""Numbers for names: origins and holders are few, but stand in every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Name = TypeVar("Name", bound=str)


class Names(Generic[Name]):
    """Names by number and numbers by name; number 0 is nobody's.

    >>> names = Names[str]("")
    >>> names.number("b"), names.number("a"), names.number("b"), names[2]
    (1, 2, 1, 'a')
    >>> names.forget(1)
    >>> names.find("b"), names.number("c"), list(names)
    (0, 1, ['a', 'c'])
    """

    __slots__ = ("_free", "_numbers", "names")

    def __init__(self, nobody: Name) -> None:
        #: The name of each number, nobody's where it is forgotten; to be read only.
        self.names: list[Name] = [nobody]
        self._numbers: dict[Name, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """The count of numbers given out, the forgotten ones and nobody's among them."""
        return len(self.names)

    def __iter__(self) -> Iterator[Name]:
        return iter(self._numbers)

    def __getitem__(self, number: int) -> Name:
        return self.names[number]

    def find(self, name: Name) -> int:
        """The number of a name; 0 if it has none."""
        return self._numbers.get(name, 0)

    def number(self, name: Name) -> int:
        """The number of a name, given now if it had none."""
        number = self._numbers.get(name)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.names[number] = name
            else:
                number = len(self.names)
                self.names.append(name)
            self._numbers[name] = number
        return number

    def numbers(self, names: Sequence[Name]) -> tuple[list[int], list[int]]:
        """The numbers of names, 0 for nobody's, and those of them that were given now."""
        found = list(map(self._numbers.get, names))
        given: list[int] = []
        if None in found:
            for place, name in enumerate(names):
                if found[place] is None and name != self.names[0]:
                    found[place] = self._numbers.get(name) or self.number(name)
                    given.append(found[place] or 0)
        return [number or 0 for number in found], given

    def forget(self, number: int) -> None:
        """Take a number back: nothing refers to it any more."""
        del self._numbers[self.names[number]]
        self.names[number] = self.names[0]
        self._free.append(number)
