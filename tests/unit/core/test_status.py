"""The fold: what a user shows, from entries and durable records."""

from __future__ import annotations

import pytest

from crdt import Origin, Row, Stamp
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.status import fold_user, intent_of
from presence_actors.core.values import (
    INTENT_KEY,
    LAST_SEEN_KEY,
    EndValue,
    EntryStatus,
    EntryValue,
    IntentValue,
    LastSeenValue,
    LeaveReason,
    encode_value,
    pack_status,
)
from presence_actors.core.vocabulary import StatusFrame, UserStatus

ALICE = UserId("alice")
TOPIC = "default/user:alice"
WALL = WallMs(10_000)
AWAY, ONLINE, DND = EntryStatus.AWAY, EntryStatus.ONLINE, EntryStatus.DND


def row(session: str, status: int, value: bytes, *, stamp: int = 1) -> Row:
    """One row of the user's topic."""
    key = (TOPIC, ALICE, session)
    return Row(key, Stamp(stamp), Origin("a/w0/01"), 0, status, "a/g0/01", value)


def device(
    session: str,
    status: EntryStatus = ONLINE,
    *,
    word: str = "web",
    since: int = 1_000,
    hidden: bool = False,
) -> Row:
    """A live entry."""
    value = encode_value(EntryValue(WallMs(since), word, {}))
    return row(session, pack_status(status, hidden=hidden), value)


def ended(session: str, reason: LeaveReason, *, stamp: int = 1) -> Row:
    """The end of an entry."""
    return row(session, 0, encode_value(EndValue(reason)), stamp=stamp)


def choice(status: str = "", text: str = "", emoji: str = "", until: int | None = None) -> Row:
    """The intent record."""
    end = None if until is None else WallMs(until)
    return row(INTENT_KEY, 1, encode_value(IntentValue(status, text, emoji, end)))


def last_seen(at: int) -> Row:
    """The last-seen record."""
    return row(LAST_SEEN_KEY, 1, encode_value(LastSeenValue(WallMs(at))))


def fold(
    *rows: Row, doubts: dict[str, int] | None = None, may_vouch: bool = True, wall: WallMs = WALL
) -> StatusFrame:
    """What Alice shows; `doubts` names the sessions whose home cannot be heard."""
    silent = {session: WallMs(at) for session, at in (doubts or {}).items()}
    durable = [row for row in rows if row.key[2] in (INTENT_KEY, LAST_SEEN_KEY)]
    entries = [row for row in rows if row not in durable]
    return fold_user(
        ALICE,
        entries,
        durable,
        doubt=lambda row: silent.get(row.key[2]),
        may_vouch=may_vouch,
        wall=wall,
    )


@pytest.mark.parametrize(
    ("devices", "shown"),
    [
        ([AWAY], "away"),
        ([ONLINE], "online"),
        ([AWAY, ONLINE], "online"),
        ([ONLINE, DND, AWAY], "dnd"),
    ],
)
def test_the_most_available_device_is_shown_but_dnd_before_all(
    devices: list[EntryStatus], shown: str
) -> None:
    """Dnd, then online, then away."""
    rows = [device(f"s{number}", status) for number, status in enumerate(devices)]
    assert fold(*rows).status == shown


def test_each_kind_of_device_is_listed_once_and_the_earliest_start_counts() -> None:
    """Two browsers are one word."""
    frame = fold(
        device("s1", word="web", since=3_000),
        device("s2", word="phone", since=2_000),
        device("s3", word="web", since=4_000),
    )
    assert frame == StatusFrame(
        user=ALICE, status=UserStatus.ONLINE, devices=["phone", "web"], since=WallMs(2_000)
    )


def test_a_choice_beats_what_the_devices_show_while_it_holds() -> None:
    """It ends at its own time, not a millisecond later; its text and emoji end with it."""
    rows = (device("s1", DND), choice("away", text="lunch", emoji="#", until=20_000))
    assert fold(*rows, wall=WallMs(19_999)) == StatusFrame(
        user=ALICE,
        status=UserStatus.AWAY,
        devices=["web"],
        text="lunch",
        emoji="#",
        since=WallMs(1_000),
    )
    after = fold(*rows, wall=WallMs(20_000))
    assert (after.status, after.text, after.emoji) == (UserStatus.DND, "", "")


def test_a_text_without_a_status_leaves_the_status_to_the_devices() -> None:
    """No word was chosen."""
    frame = fold(device("s1", AWAY), choice("", text="hello"))
    assert (frame.status, frame.text) == (UserStatus.AWAY, "hello")


def test_who_chose_to_be_invisible_is_offline_and_nothing_more_is_told() -> None:
    """No device, no text, no last-seen time, whatever the entries say."""
    for rows in ([device("s1")], [], [ended("s1", LeaveReason.LEFT)]):
        frame = fold(*rows, choice("invisible", text="secret"), last_seen(900))
        assert frame == StatusFrame(user=ALICE, status=UserStatus.OFFLINE)


def test_a_hidden_entry_shows_nothing_even_before_the_choice_is_known() -> None:
    """The flag travels with the entry, so the record may be late: neither last seen nor reason."""
    frame = fold(
        device("s1", hidden=True), ended("s2", LeaveReason.LEFT), choice(text="t"), last_seen(900)
    )
    assert frame == StatusFrame(user=ALICE, status=UserStatus.OFFLINE, text="t")


def test_one_device_that_is_heard_makes_the_user_present() -> None:
    """Those in doubt beside it are not counted, and no time of doubt is told."""
    frame = fold(device("s1", DND, word="phone"), device("s2", word="web"), doubts={"s1": 500})
    assert (frame.status, frame.devices, frame.as_of) == (UserStatus.ONLINE, ["web"], None)


def test_a_user_with_devices_in_doubt_only_is_unreachable_as_of_the_newest_sign() -> None:
    """Neither online nor offline."""
    frame = fold(
        device("s1", word="phone"),
        device("s2", word="web", since=2_000),
        choice("dnd"),
        doubts={"s1": 500, "s2": 700},
    )
    assert frame == StatusFrame(
        user=ALICE,
        status=UserStatus.UNREACHABLE,
        devices=["phone", "web"],
        since=WallMs(1_000),
        as_of=WallMs(700),
    )


def test_a_user_without_devices_is_unknown_where_absence_cannot_be_vouched_for() -> None:
    """And offline where it can."""
    rows = (ended("s1", LeaveReason.LEFT), last_seen(900))
    assert fold(*rows, may_vouch=False) == StatusFrame(user=ALICE, status=UserStatus.UNKNOWN)
    assert fold(*rows) == StatusFrame(
        user=ALICE, status=UserStatus.OFFLINE, last_seen=WallMs(900), reason="left"
    )


def test_the_reason_of_an_absence_is_that_of_the_last_end() -> None:
    """By the stamps, not by the order of coming."""
    frame = fold(ended("s2", LeaveReason.TIMEOUT, stamp=9), ended("s1", LeaveReason.LEFT, stamp=3))
    assert (frame.reason, frame.last_seen) == ("timeout", None)


def test_a_user_of_whom_nothing_is_known_is_offline_without_a_reason() -> None:
    """Nobody has to exist to be watched."""
    assert fold() == StatusFrame(user=ALICE, status=UserStatus.OFFLINE)


def test_a_record_that_was_removed_counts_as_none() -> None:
    """An erased choice hides nobody, and an erased time is not told."""
    gone = choice("invisible")._replace(status=0, value=encode_value(EndValue("erased")))
    seen = last_seen(900)._replace(status=0, value=encode_value(EndValue("erased")))
    assert intent_of([gone], WALL) == IntentValue("", "", "", None)
    assert fold(gone, seen) == StatusFrame(user=ALICE, status=UserStatus.OFFLINE)
