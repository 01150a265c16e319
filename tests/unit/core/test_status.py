"""The fold: what a user shows, as a table of cases."""

from __future__ import annotations

import pytest

from crdt import Row
from presence_actors.core.instants import WallMs
from presence_actors.core.status import fold_user, intent_of
from presence_actors.core.values import EntryStatus
from presence_actors.core.vocabulary import StatusFrame, UserStatus
from tests.unit.core.building import G1, WALL, end, entry, intent, last_seen, user

ALICE = "default/user:alice"


def own(device: str = "desktop", **parts: object) -> Row:
    """An entry of alice in her own topic; one session for each device."""
    return entry(topic=ALICE, session=device, device=device, **parts)  # type: ignore[arg-type]


def fold(
    entries: list[Row],
    durable: list[Row] | None = None,
    *,
    doubts: dict[str, int] | None = None,
    may_vouch: bool = True,
) -> StatusFrame:
    """What alice shows at instant 100."""

    def doubt(row: Row) -> WallMs | None:
        since = (doubts or {}).get(row.key[2])
        return None if since is None else WallMs(WALL + since)

    return fold_user(
        user("alice"),
        entries,
        durable or [],
        doubt=doubt,
        may_vouch=may_vouch,
        wall=WallMs(WALL + 100),
    )


@pytest.mark.parametrize(
    ("statuses", "shown"),
    [
        (["AWAY"], UserStatus.AWAY),
        (["AWAY", "ONLINE"], UserStatus.ONLINE),
        (["ONLINE", "DND", "AWAY"], UserStatus.DND),
        (["AWAY", "DND"], UserStatus.DND),
    ],
)
def test_the_most_available_device_decides(statuses: list[str], shown: UserStatus) -> None:
    """In any order of the devices."""
    rows = [own(f"d{index}", status=EntryStatus[word]) for index, word in enumerate(statuses)]
    assert fold(rows).status == shown
    assert fold(rows[::-1]).status == shown


def test_a_present_user_has_devices_and_the_earliest_start() -> None:
    """Each device once, sorted; no time of a last sign."""
    rows = [own("web", since=7), own("mobile", since=3)]
    frame = fold(rows, [intent(text="hello")])
    assert frame == StatusFrame(
        user=user("alice"),
        status=UserStatus.ONLINE,
        devices=["mobile", "web"],
        text="hello",
        since=WallMs(WALL + 3),
    )


@pytest.mark.parametrize("chosen", ["away", "dnd"])
def test_a_choice_beats_what_devices_show(chosen: str) -> None:
    """As long as it holds."""
    assert fold([own(status=EntryStatus.ONLINE)], [intent(status=chosen)]).status == chosen
    assert (
        fold([own()], [intent(status=chosen, until=100)]).status == UserStatus.ONLINE
    )  # It ends at its end.


def test_a_choice_does_not_make_an_absent_user_present() -> None:
    """Do not disturb with no device is offline, with the text."""
    frame = fold([], [intent(status="dnd", text="gone fishing")])
    assert (frame.status, frame.text) == (UserStatus.OFFLINE, "gone fishing")


@pytest.mark.parametrize("may_vouch", [True, False])
def test_the_invisible_are_offline_and_nothing_else_is_told(may_vouch: bool) -> None:
    """Neither devices nor text nor when last seen, whatever else is known."""
    frame = fold(
        [own(hidden=True)],
        [intent(status="invisible", text="secret"), last_seen(when=50)],
        doubts={"desktop": 5},
        may_vouch=may_vouch,
    )
    assert frame == StatusFrame(user=user("alice"), status=UserStatus.OFFLINE)


def test_hidden_entries_alone_do_not_show_even_if_the_choice_is_not_known() -> None:
    """And tell neither a reason nor a time."""
    before = end(own("web"), written=3)
    frame = fold([own(hidden=True), before], [last_seen(when=50)])
    assert frame == StatusFrame(user=user("alice"), status=UserStatus.OFFLINE)


def test_one_device_that_can_be_heard_is_enough() -> None:
    """The others do not count, neither for the status nor as devices."""
    rows = [own("web", status=EntryStatus.DND, holder=G1), own("mobile")]
    frame = fold(rows, doubts={"web": 10})
    assert (frame.status, frame.devices, frame.as_of) == (UserStatus.ONLINE, ["mobile"], None)


def test_a_user_of_whom_nothing_can_be_heard_is_unreachable_since_the_newest_sign() -> None:
    """Neither online nor offline."""
    frame = fold([own("web"), own("mobile")], doubts={"web": 10, "mobile": 20})
    assert frame.status == UserStatus.UNREACHABLE
    assert frame.as_of == WALL + 20
    assert frame.devices == ["mobile", "web"]


def test_absence_is_unknown_where_nobody_may_vouch_for_it() -> None:
    """Absence of data is never an offline; presence is presence."""
    assert fold([], [last_seen(when=1)], may_vouch=False) == StatusFrame(
        user=user("alice"), status=UserStatus.UNKNOWN
    )
    assert fold([own()], may_vouch=False).status == UserStatus.ONLINE


def test_the_offline_were_last_seen_and_left_for_the_newest_reason() -> None:
    """The newest end of all devices."""
    rows = [
        end(own("web"), written=9, reason="timeout"),
        end(own("mobile"), written=4, reason="left"),
    ]
    frame = fold(rows, [last_seen(when=9)])
    assert frame == StatusFrame(
        user=user("alice"),
        status=UserStatus.OFFLINE,
        last_seen=WallMs(WALL + 9),
        reason="timeout",
    )


def test_without_a_record_there_is_no_choice() -> None:
    """Nor with a record that was removed, nor with one of another kind."""
    nothing = intent_of([], WallMs(WALL))
    assert (nothing.status, nothing.text, nothing.until) == ("", "", None)
    removed = intent(status="dnd")._replace(status=0)
    assert intent_of([last_seen(when=1), removed], WallMs(WALL)) == nothing
