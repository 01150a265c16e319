"""Numbers for names: origins and holders are few, but stand in every row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def forget(self, number: int) -> None:
        """Take a number back: nothing refers to it any more."""
        del self._numbers[self.names[number]]
        self.names[number] = self.names[0]
        self._free.append(number)
