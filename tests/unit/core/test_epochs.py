"""An entry's epoch: who has the right to its key."""

from __future__ import annotations

import pytest

from crdt import CrdtError, epoch_resume
from presence_actors.core.epochs import (
    ATTACHMENTS_MAX,
    attachment_of,
    entry_epoch,
    is_same_resume,
    refuting_epoch,
)
from presence_actors.core.limits import RESUME_MAX


def test_a_later_resumption_beats_any_number_of_attachments() -> None:
    """A cut-off holder that moved often loses against the client's new one."""
    often_moved = entry_epoch(resume=1, attachment=ATTACHMENTS_MAX)
    assert entry_epoch(resume=2, attachment=1) > often_moved


def test_a_later_attachment_beats_an_earlier_one_of_the_same_resumption() -> None:
    """What a gateway writes after it moved wins over what it wrote before."""
    assert entry_epoch(resume=1, attachment=2) > entry_epoch(resume=1, attachment=1)


def test_the_parts_are_read_back_at_their_limits() -> None:
    """The greatest resume and the greatest attachment fit beside each other."""
    epoch = entry_epoch(resume=RESUME_MAX, attachment=ATTACHMENTS_MAX)
    assert epoch_resume(epoch) == RESUME_MAX
    assert attachment_of(epoch) == ATTACHMENTS_MAX


def test_an_attachment_beyond_the_limit_is_refused() -> None:
    """It would spill into the count of resumptions and take the right of a later client."""
    with pytest.raises(CrdtError):
        entry_epoch(resume=1, attachment=ATTACHMENTS_MAX + 1)


def test_a_refutation_beats_both_and_keeps_resumption_and_attachment() -> None:
    """It speaks for the same client under the same attachment, only louder."""
    mine = entry_epoch(resume=3, attachment=7)
    beaten = refuting_epoch(mine, beaten=mine)
    again = refuting_epoch(mine, beaten=beaten)
    assert mine < beaten < again
    assert attachment_of(again) == 7
    assert epoch_resume(again) == 3


def test_a_refutation_of_something_older_still_exceeds_what_the_holder_wrote() -> None:
    """Equal epochs would let the stamps decide."""
    mine = entry_epoch(resume=3, attachment=7)
    older = entry_epoch(resume=3, attachment=2)
    assert refuting_epoch(mine, beaten=older) == mine + 1


def test_attachments_do_not_change_whose_attempt_it_is() -> None:
    """Only another attempt of the client makes another resume."""
    mine = entry_epoch(resume=3, attachment=7)
    assert is_same_resume(mine, entry_epoch(resume=3, attachment=8))
    assert not is_same_resume(mine, entry_epoch(resume=4, attachment=7))
