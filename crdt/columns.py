"""Columns on the wire: numbers as raw little-endian bytes, strings as one text with their lengths.

Nothing here becomes a MessagePack array.  So a decoder may forbid arrays altogether, and with them
the one way in which a few bytes can claim much memory; and no number costs a Python object.

Numbers take the narrowest of 1, 2, 4 or 8 bytes that holds the greatest of a column.  The width is
not sent: it follows from the size of the column and the count of rows.

Every reader here checks what it reads and raises `DecodeError`.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

import msgpack
import numpy as np

from crdt.errors import CrdtError, DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Narrow: TypeAlias = np.uint8 | np.uint16 | np.uint32 | np.uint64

_DTYPE_OF_WIDTH: Final = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8"}
#: The narrowest that holds a number of so many bytes.
_DTYPE_FOR_BYTES: Final = ("<u1", "<u1", "<u2", "<u4", "<u4", "<u8", "<u8", "<u8", "<u8")
#: More than any message can hold; keeps sums of lengths far from overflow.
_LENGTH_MAX: Final = 1 << 40
_NUMBER_MAX: Final = (1 << 64) - 1
_NO_NUMBERS: Final = np.empty(0, dtype=np.uint64)


def encode_map(fields: dict[str, object], *, version: int, what: str) -> bytes:
    """A message: a version byte, and one MessagePack map."""
    try:
        body: bytes = msgpack.packb(fields, use_bin_type=True)
    except UnicodeEncodeError as error:
        raise CrdtError(
            what,
            f"a string cannot be written as UTF-8 ({error.reason})",
            "refuse such strings where they come in",
        ) from error
    return bytes((version,)) + body


def decode_map(data: bytes, *, version: int, size_max: int, what: str) -> object:
    """What `encode_map` wrote, in time and memory in proportion to ``data``, whatever it says."""
    if len(data) > size_max:
        raise DecodeError(what, f"{len(data)} bytes are more than {size_max}")
    if not data or data[0] != version:
        raise DecodeError(what, f"it does not begin with version {version}")
    try:
        # No arrays and no extensions: an array is allocated at the length that it claims.
        obj: object = msgpack.unpackb(
            memoryview(data)[1:],
            raw=False,
            strict_map_key=True,
            max_array_len=0,
            max_ext_len=0,
        )
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DecodeError(what, f"no MessagePack map ({type(error).__name__})") from error
    return obj


def write_numbers(numbers: NDArray[np.uint64] | NDArray[np.uint8] | Sequence[int]) -> bytes:
    """Unsigned numbers in the narrowest width that holds them all.

    >>> write_numbers([1, 2, 256]).hex()
    '010002000001'
    """
    if not isinstance(numbers, np.ndarray):
        try:
            # Most are lengths, and short; an array of them would cost more than they do.
            return bytes(numbers)
        except (ValueError, TypeError):
            pass
    elif numbers.dtype == np.uint8:
        return numbers.tobytes()
    column = np.asarray(numbers, dtype=np.uint64)
    return _narrow(column, int(column.max())) if len(column) else b""


def _narrow(column: NDArray[np.uint64], greatest: int) -> bytes:
    return column.astype(_DTYPE_FOR_BYTES[(greatest.bit_length() + 7) // 8]).tobytes()


def read_numbers(obj: object, count: int, where: str) -> NDArray[np.uint64]:
    """``count`` numbers that `write_numbers` wrote."""
    return read_narrow(obj, count, where).astype(np.uint64)


def read_narrow(obj: object, count: int, where: str) -> NDArray[Narrow]:
    """The same in the width that they came in: what is looked for in them is found sooner."""
    if not isinstance(obj, bytes):
        raise DecodeError(where, f"expected bytes, got {type(obj).__name__}")
    if count == 0:
        if obj:
            raise DecodeError(where, f"expected no bytes for no rows, got {len(obj)}")
        return _NO_NUMBERS
    width, rest = divmod(len(obj), count)
    if rest or width not in _DTYPE_OF_WIDTH:
        raise DecodeError(where, f"{len(obj)} bytes do not hold {count} numbers")
    return np.frombuffer(obj, dtype=_DTYPE_OF_WIDTH[width])


def write_spread(numbers: NDArray[np.uint64]) -> dict[str, object]:
    """Numbers that lie near each other: the least one, and how far each is above it.

    >>> write_spread(np.array([1000, 1007], dtype=np.uint64))["least"]
    1000
    """
    if not len(numbers):
        return {"least": 0, "above": b""}
    least, greatest = int(numbers.min()), int(numbers.max())
    if least == greatest:
        return {"least": least, "above": b""}
    return {"least": least, "above": _narrow(numbers - np.uint64(least), greatest - least)}


def read_spread(obj: object, count: int, where: str) -> NDArray[np.uint64]:
    """``count`` numbers that `write_spread` wrote."""
    fields = read_map(obj, ("least", "above"), where)
    least = read_count(fields["least"], _NUMBER_MAX, f"{where}.least")
    if fields["above"] == b"":
        return np.full(count, least, dtype=np.uint64)
    above = read_narrow(fields["above"], count, f"{where}.above")
    if least > _NUMBER_MAX - int(above.max(initial=0)):
        raise DecodeError(where, "a number has more than 64 bits")
    numbers = above.astype(np.uint64)
    numbers += np.uint64(least)
    return numbers


def write_names(names: Sequence[str], index: NDArray[np.int64]) -> dict[str, object]:
    """Names that repeat: each once, and an index for each row."""
    return {
        "count": len(names),
        "table": write_texts(names),
        "index": write_numbers(index.view(np.uint64)) if len(names) > 1 else b"",
    }


def read_names(obj: object, count: int, where: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The names that `write_names` wrote, and ``count`` indices."""
    fields = read_map(obj, ("count", "table", "index"), where)
    size = read_count(fields["count"], count, f"{where}.count")
    names = tuple(read_texts(fields["table"], size, f"{where}.table"))
    if len(frozenset(names)) < size:
        raise DecodeError(where, "a name comes twice in its table")
    if fields["index"] == b"" and (size == 1 or not count):
        return names, np.zeros(count, dtype=np.int64)
    index = read_narrow(fields["index"], count, f"{where}.index")
    if count and int(index.max()) >= size:
        raise DecodeError(where, f"index {int(index.max())} is beyond a table of {size}")
    return names, index.astype(np.int64)


def write_texts(texts: Sequence[str]) -> dict[str, object]:
    """Strings as one text and the length of each, in code points."""
    return {"text": "".join(texts), "lengths": write_numbers(list(map(len, texts)))}


def read_texts(obj: object, count: int, where: str) -> list[str]:
    """``count`` strings that `write_texts` wrote."""
    fields = read_map(obj, ("text", "lengths"), where)
    text = fields["text"]
    if not isinstance(text, str):
        raise DecodeError(where, f"expected a text, got {type(text).__name__}")
    pieces = _read_pieces(fields["lengths"], count, len(text), where)
    return list(map(text.__getitem__, pieces))


def write_blobs(blobs: Sequence[bytes]) -> dict[str, object]:
    """Byte strings as one and the length of each."""
    return {"bytes": b"".join(blobs), "lengths": write_numbers(list(map(len, blobs)))}


def read_blobs(obj: object, count: int, where: str) -> list[bytes]:
    """``count`` byte strings that `write_blobs` wrote."""
    fields = read_map(obj, ("bytes", "lengths"), where)
    whole = fields["bytes"]
    if not isinstance(whole, bytes):
        raise DecodeError(where, f"expected bytes, got {type(whole).__name__}")
    pieces = _read_pieces(fields["lengths"], count, len(whole), where)
    return list(map(whole.__getitem__, pieces))


def write_table(texts: Sequence[str]) -> dict[str, object]:
    """Strings that repeat: each different one once, in order, and an index for each row."""
    table = sorted(set(texts))
    index_of = {text: index for index, text in enumerate(table)}
    return {
        "count": len(table),
        "table": write_texts(table),
        "index": write_numbers([index_of[text] for text in texts]),
    }


def read_table(obj: object, count: int, where: str) -> list[str]:
    """``count`` strings that `write_table` wrote."""
    fields = read_map(obj, ("count", "table", "index"), where)
    table = read_texts(
        fields["table"], read_count(fields["count"], count, f"{where}.count"), f"{where}.table"
    )
    if any(left >= right for left, right in pairwise(table)):
        raise DecodeError(where, "its table is not strictly ascending")
    index = read_numbers(fields["index"], count, f"{where}.index")
    if count and int(index.max()) >= len(table):
        raise DecodeError(where, f"index {int(index.max())} is beyond a table of {len(table)}")
    return [table[slot] for slot in index.tolist()]


def read_count(obj: object, count_max: int, where: str) -> int:
    """A count from 0 to ``count_max``."""
    # bool is an int to Python, but no count.
    if type(obj) is not int or not 0 <= obj <= count_max:
        raise DecodeError(where, f"expected a count of at most {count_max}")
    return obj


def read_map(obj: object, names: tuple[str, ...], where: str) -> dict[object, object]:
    """A map with exactly these names."""
    if not isinstance(obj, dict):
        raise DecodeError(where, f"expected a map, got {type(obj).__name__}")
    if len(obj) != len(names) or not all(map(obj.__contains__, names)):
        raise DecodeError(where, f"expected exactly the fields {', '.join(names)}")
    return obj


def _read_pieces(
    lengths: object, count: int, size: int, where: str
) -> Iterator[slice[int, int, None]]:
    """``count`` pieces, one behind the other, of something of ``size``."""
    if isinstance(lengths, bytes) and len(lengths) == count:
        # One byte each, as most are: those are whole numbers as they stand.
        bounds = list(accumulate(lengths, initial=0))
    else:
        column = read_numbers(lengths, count, f"{where}.lengths")
        longest = int(column.max(initial=0))
        if longest > _LENGTH_MAX:
            raise DecodeError(where, f"a length of {longest} is more than any message holds")
        bounds = list(accumulate(column.tolist(), initial=0))
    if bounds[-1] != size:
        raise DecodeError(where, f"lengths add up to {bounds[-1]}, but there are {size}")
    return map(slice, bounds, bounds[1:])
