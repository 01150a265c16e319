"""Orders and repeats of whole numbers, in time in proportion to their count.

To sort words of 64 bits costs numpy 25 to 35 ns for each of ten thousand or more; these cost 2 to
15 ns, and a bootstrap asks three times for each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: numpy sorts numbers of 16 bits by counting, if the sort is to be stable.
_DIGIT: Final = 16
_DIGIT_MASK: Final = (1 << _DIGIT) - 1
#: Places of a table for each word in it: fewer words then want a place that another one has.
_ROOM: Final = 4
#: Fewer words than this are sorted: a round over tables costs more.
_FEW: Final = 64


def order_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of numbers from 0 to 2**32 - 1 in ascending order; of equal ones the first first.

    >>> order_of(np.array([7, 100_000, 3, 7])).tolist()
    [2, 0, 3, 1]
    """
    order = numbers.astype(np.uint16).argsort(kind="stable")
    if int(numbers.max(initial=0)) > _DIGIT_MASK:
        upper = (numbers >> _DIGIT).astype(np.uint16)
        order = order.take(upper.take(order).argsort(kind="stable"))
    return order


def leaders(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """For each word the place of one that is equal to it: the same place for all such.

    >>> places = leaders(np.array([5, 9, 5, 9, 7], dtype=np.uint64))
    >>> int(places[0]) == int(places[2]) in (0, 2), int(places[4])
    (True, 4)
    """
    leading, _, astray = _lead(words, words)
    for shift in (_DIGIT, 2 * _DIGIT, 3 * _DIGIT):
        if len(astray) < _FEW:
            break
        # Nobody equal to these has won a place: they take part again, with other bits.
        rest = words.take(astray)
        again, _, left = _lead(rest, rest >> np.uint64(shift))
        leading[astray] = astray.take(again)
        astray = astray.take(left)
    if len(astray):
        _, first, which = np.unique(words.take(astray), return_index=True, return_inverse=True)
        leading[astray] = astray.take(first).take(which)
    return leading


def repeats(words: NDArray[np.uint64]) -> bool:
    """Does a word come twice?

    >>> repeats(np.array([1, 2, 1], dtype=np.uint64)), repeats(np.array([1, 2], dtype=np.uint64))
    (True, False)
    """
    _, losers, astray = _lead(words, words)
    if len(astray) < len(losers):
        return True
    # Two that lost may be equal though no winner is.
    rivals = words.take(astray)
    rivals.sort()
    return bool((rivals[1:] == rivals[:-1]).any())


def _lead(
    words: NDArray[np.uint64], bits: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """For each word the place of one with the same lower bits.

    Returns:
        Those places; the words that are not at theirs; and those of them that are not equal to
        what is there.
    """
    count = len(words)
    size = 1 << (_ROOM * count - 1).bit_length()
    places = (bits & np.uint64(size - 1)).view(np.int64)
    number = np.arange(count, dtype=np.uint16 if count <= _DIGIT_MASK + 1 else np.uint32)
    # Somebody wins a place that several want; equal words want the same.
    table = np.empty(size, dtype=number.dtype)
    table[places] = number
    leading = table.take(places, mode="clip").astype(np.int64)
    losers = np.flatnonzero(leading != number)
    astray = losers[words.take(losers) != words.take(leading.take(losers))]
    return leading, losers, astray
