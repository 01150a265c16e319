"""An entry's epoch: who has the right to its key.

``epoch`` = (resume, move), compared in that order and before any stamp. `resume` counts the
client's attempts to resume its session, so two holders never share it. `move` is raised by the
holder: its upper 24 bits are the number of the attachment under which it writes, its lower 8 count
refutations. So from a row alone a replica knows whether the gateway has attached elsewhere since.
"""

from __future__ import annotations

from typing import Final

from crdt import epoch_move, epoch_resume, pack_epoch

__all__ = ["ATTACHMENTS_MAX", "attachment_of", "entry_epoch", "is_same_resume", "refuting_epoch"]

_REFUTATION_BITS: Final = 8
#: Attachments of one gateway life to one shard. Beyond: the gateway ends and starts a new life.
ATTACHMENTS_MAX: Final = (1 << (32 - _REFUTATION_BITS)) - 1


def entry_epoch(*, resume: int, attachment: int) -> int:
    """The epoch of an entry that is written under this attachment.

    >>> attachment_of(entry_epoch(resume=3, attachment=7))
    7
    """
    return pack_epoch(resume, attachment << _REFUTATION_BITS)


def attachment_of(epoch: int) -> int:
    """The attachment under which the row was written."""
    return epoch_move(epoch) >> _REFUTATION_BITS


def refuting_epoch(epoch: int, *, beaten: int) -> int:
    """The smallest epoch of the same resume that is greater than both.

    >>> first = entry_epoch(resume=1, attachment=2)
    >>> refuting_epoch(first, beaten=first) == first + 1
    True
    """
    return max(epoch, beaten) + 1


def is_same_resume(epoch: int, other: int) -> bool:
    """Whether both were written for the same attempt of the client."""
    return epoch_resume(epoch) == epoch_resume(other)
