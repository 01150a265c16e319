"""For each rule of the model a history that ends badly without it.

Found by searches (`wander`, `explore`) and shrunk, or made by hand where chance is slow to find it.
A worker is named by its place among the lives that run. ``round 0>1`` lets worker 0 speak to 1 and
nobody else to anybody; ``!0`` lets no replica hear gateway 0. See `tests.model.explore.take`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tests.model.explore import Scope
from tests.model.parts import Spans

__all__ = ["BELIEVED_AGAIN", "HISTORIES", "LACKING", "History"]

#: A horizon far beyond all else: what is to be right soon must be so before anything is forgotten.
_LONG: Final = Spans(horizon=12, retention=24)


class History(NamedTuple):
    """Steps, and where they happen."""

    steps: tuple[str, ...]
    scope: Scope
    spans: Spans | None = None


def _history(*steps: str, scope: Scope, spans: Spans | None = None) -> History:
    return History(steps, scope, spans)


_ALL: Final = "round all"
_THREE: Final = Scope(workers=3, places=(0, 1, 2), sessions=3)
_PAIR: Final = Scope(workers=2, places=(0, 0), sessions=2)

HISTORIES: Final[dict[str, History]] = {
    "replace": _history(
        "leave 0",
        *["round 0>1"] * 7,
        scope=Scope(workers=3, places=(0,)),
    ),
    "be_silent": _history(
        "attach 0 1",
        "round all !0",
        "sleep 1",
        "leave 0",
        "sleep 0",
        _ALL,
        "round all !1",
        "round all !2",
        "round all !0",
        *[_ALL] * 3,
        "wake 0",
        _ALL,
        scope=_THREE,
    ),
    "not_by_less": _history(
        *["round 1>0"] * 2,
        "send 0 1",
        "leave 0",
        *["round 1>0,0>1"] * 3,
        *["round 1>0"] * 5,
        "deliver 0",
        "round 1>0",
        scope=Scope(workers=2, places=(0, 1), sessions=3),
    ),
    "spare_above": _history(
        *["round 0>1,0>3"] * 4,
        "hop 0 1",
        "round 0>1",
        "part 1 2",
        "round 3>2",
        scope=Scope(workers=4, places=(0, 0), sessions=2),
    ),
    "keep_parts": _history(*["round "] * 4, "part 0 1", "deliver 0", scope=_PAIR),
    "by_transfer": _history(
        *["round "] * 4, "part 0 1", "drop 0", "leave 0", *["round "] * 8, scope=_PAIR
    ),
    "count_rows": _history(
        "restart 0", "round ", "part 0 1", "restart 0", "crash 0", "crash 1", scope=_PAIR
    ),
    "heard_when_new": _history(
        "leave 0",
        "round 0>3",
        "restart 2",
        "round 0>3,1>2",
        "round 0>3",
        "restart 1",
        "round 0>3,2>1",
        "round 0>3",
        "restart 2",
        "round 0>3,1>2",
        "round 0>3",
        scope=Scope(workers=4, places=(0,)),
    ),
    "drop_old_lives": _history("twin 0", scope=_THREE),
    "drop_only_old_lives": _history(*["round "] * 4, scope=_THREE),
    "sweep_old_lives": _history("crash 0", "restart 0", spans=_LONG, scope=_THREE),
    "fresh_origin": _history("twin 0", scope=_THREE),
    "same_epoch": _history(*["round all !0"] * 3, scope=_THREE),
    "refute_own_only": _history(
        "hop 0 1",
        *[_ALL] * 2,
        spans=Spans(client_lease=4, horizon=12, retention=24),
        scope=_THREE,
    ),
    "whole_set": _history("leave 0", "round ", "restart 0", spans=_LONG, scope=_THREE),
    "whole_set_later": _history(
        "attach 0 1",
        "round 1>2",
        "leave 0",
        "round ",
        "restart 1",
        "round ",
        spans=_LONG,
        scope=_THREE,
    ),
    "move_on_attach": _history(
        "attach 0 2",
        *["round all"] * 2,
        "restart 0",
        "attach 0 0",
        "round all !0",
        "leave 0",
        "round 2>1,1>2",
        scope=_THREE,
    ),
    "move_ends": _history("attach 0 2", "sleep 2", "leave 0", _ALL, "wake 2", _ALL, scope=_THREE),
    "end_silent": _history("crash 0", spans=_LONG, scope=_THREE),
    "skip_covered": _history(
        "restart 1", "send 0 1", _ALL, "leave 0", *[_ALL] * 9, "deliver 0", _ALL, scope=_PAIR
    ),
    "vector_last": _history("restart 1", "part 0 1", "drop 0", scope=_PAIR),
    "for_this_life": _history("restart 1", "part 0 1", "restart 1", "deliver 0", scope=_PAIR),
}

_APART: Final = "round 3>1,1>2,2>1,3>2,1>3,2>3"
_TWO_SIDES: Final = "round 1>3,3>1,0>2,2>0"

#: An old life runs on and a newer one ends its rows, though their holder is there. When the old
#: life is heard again, they are back, and rightly so; then they end, which not everybody hears.
BELIEVED_AGAIN: Final[dict[str, History]] = {
    "who has it back sleeps while it ends": _history(
        "twin 2",
        _ALL,
        *["round 1>3,2>0,0>2,3>1"] * 10,
        *[_ALL] * 2,
        "sleep 2",
        "leave 2",
        *[_ALL] * 2,
        scope=_THREE,
    ),
    "word of it is a moment late": _history(
        "twin 0",
        "round 0>1,3>2,1>0,2>3",
        *[_APART] * 2,
        *[_APART + " !0"] * 2,
        *[_APART] * 6,
        "round 2>3,3>1,2>0,1>2,0>2,3>2",
        "leave 0",
        "round 2>3,3>1,2>0,1>2,0>2,3>2",
        scope=_THREE,
    ),
    "word of it is almost a horizon late": _history(
        "twin 0",
        _ALL,
        f"{_TWO_SIDES} !0",
        *[_TWO_SIDES] * 7,
        "crash 0",
        f"{_TWO_SIDES} !1",
        "sleep 1",
        f"{_TWO_SIDES} !0",
        "round 1>3,3>1,1>2,3>2,2>3,2>1",
        "restart 0",
        "round 2>1,3>1,1>3",
        scope=Scope(workers=3, places=(0, 1, 2), sessions=3, drift=1),
    ),
}

#: Worker 1 has heard the newer life end session 2, which is at the older one, and hears only the
#: older one from then on. It must not speak for the newer one, so nobody refutes that end.
LACKING: Final = _history(
    "twin 2",
    _ALL,
    *["round 1>3,3>1,2>0,0>2"] * 2,
    "sleep 2",
    *["round 1>3,3>1,2>0,0>2"] * 3,
    *[_ALL] * 6,
    scope=_THREE,
)
