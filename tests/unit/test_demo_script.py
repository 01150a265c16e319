"""The people of the demo: `presence_actors.demo.script`, and what is told of them."""

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.client import Join, Leave, Status, Update, View
from presence_actors.core.ids import UserId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Entry, Quality, UserStatus
from presence_actors.demo.scene import Line, Scene
from presence_actors.demo.script import (
    PEOPLE_MAX,
    ROOMS,
    Arrive,
    Choose,
    Cue,
    Depart,
    Device,
    Drop,
    Hop,
    Show,
    Speak,
    Vanish,
    cues,
    names,
)

seeds = st.integers(0, 2**32)
crowds = st.integers(1, PEOPLE_MAX)


def _begin(seed: int, people: int, count: int = 600) -> list[Cue]:
    return list(islice(cues(seed, people), count))


@given(seeds, crowds)
def test_the_same_seed_is_the_same_show(seed: int, people: int) -> None:
    """A show that went wrong can be seen again."""
    assert _begin(seed, people, 200) == _begin(seed, people, 200)


def test_another_seed_is_another_show() -> None:
    """The seed matters."""
    assert _begin(1, 36) != _begin(2, 36)


@given(seeds, crowds)
def test_cues_come_in_the_order_of_time(seed: int, people: int) -> None:
    """Whoever carries them out only ever waits."""
    times = [cue.at_ms for cue in _begin(seed, people)]
    assert times[0] >= 0
    assert all(before <= after for before, after in pairwise(times))


@given(seeds, crowds)
def test_a_device_acts_only_while_it_is_here(seed: int, people: int) -> None:
    """Each device arrives first, and after it went it does nothing but arrive again."""
    here: set[Device] = set()
    for cue in _begin(seed, people):
        assert isinstance(cue.action, Arrive) == (cue.device not in here)
        match cue.action:
            case Arrive():
                here.add(cue.device)
            case Depart() | Vanish():
                here.remove(cue.device)
            case _:
                pass


@given(seeds, crowds)
def test_a_device_leaves_and_speaks_in_rooms_that_it_is_in(seed: int, people: int) -> None:
    """The script knows where everybody is."""
    rooms: dict[Device, set[str]] = {}
    for cue in _begin(seed, people):
        match cue.action:
            case Arrive(rooms=entered):
                assert entered
                rooms[cue.device] = set(entered)
            case Hop(leave=leave, join=join):
                assert join not in rooms[cue.device]
                assert leave in rooms[cue.device] | {""}
                rooms[cue.device] = rooms[cue.device] - {leave} | {join}
            case Speak(room=room):
                assert room in rooms[cue.device]
            case _:
                pass
        assert rooms[cue.device] <= set(ROOMS)


@given(seeds, crowds)
def test_a_device_that_vanished_stays_away_longer_than_the_grace(seed: int, people: int) -> None:
    """Else its return would hide that it was gone, and the show would lack its timeouts."""
    gone: dict[Device, int] = {}
    for cue in _begin(seed, people):
        match cue.action:
            case Depart() | Vanish():
                gone[cue.device] = cue.at_ms
            case Arrive() if cue.device in gone:
                assert cue.at_ms - gone[cue.device] >= 8_000
            case _:
                pass


@pytest.mark.parametrize("seed", range(10))
def test_twenty_seconds_show_everything(seed: int) -> None:
    """Who looks for twenty seconds sees each kind of action, and a vanishing come to its end."""
    shown = [cue for cue in _begin(seed, 36) if cue.at_ms < 20_000]
    kinds = {type(cue.action) for cue in shown}
    assert kinds == {Arrive, Depart, Vanish, Drop, Show, Choose, Speak, Hop}
    assert any(isinstance(cue.action, Vanish) and cue.at_ms < 12_000 for cue in shown)


def test_people_have_one_to_three_devices_and_names_of_their_own() -> None:
    """A few dozen people on several devices."""
    known = names(PEOPLE_MAX)
    assert len(set(known)) == PEOPLE_MAX
    devices = {cue.device for cue in _begin(3, 36)}
    per_person = [sum(device.user == name for device in devices) for name in names(36)]
    assert set(per_person) == {1, 2, 3}


# --------------------------------------------------------------------------- what the watcher saw


def _entry(status: str = "online", mood: str = "happy") -> Entry:
    return Entry(
        ref="r1",
        key=UserId("alice"),
        status=status,
        device="mobile",
        since=WallMs(1),
        meta={"mood": mood},
    )


def test_a_scene_tells_joins_updates_and_leaves_with_their_reasons() -> None:
    """Each becomes a line and is counted, and the rooms of the person follow."""
    scene = Scene(["alice"], "a")
    first, second = _entry(), _entry(mood="busy")
    assert scene.handle(Join("room:lobby", first), 1.0) == Line(
        1.0, "alice (mobile) joins lobby", "join"
    )
    assert scene.people["alice"].rooms == ["lobby"]
    assert scene.handle(Update("room:lobby", second, first), 2.0) == Line(
        2.0, "alice (mobile) in lobby: busy", "update"
    )
    assert scene.handle(Leave("room:lobby", second, "timeout"), 3.0) == Line(
        3.0, "alice (mobile) leaves lobby: timeout", "leave"
    )
    assert scene.people["alice"].rooms == []
    assert (scene.joins, scene.updates, scene.leaves) == (1, 1, {"timeout": 1})


def test_a_status_is_told_once_and_not_again_for_each_room() -> None:
    """The update of a room that only shows the device's status counts, and adds no line."""
    scene = Scene(["alice"], "a")
    away = Status(user="alice", status=UserStatus.AWAY, devices=["mobile"])
    assert scene.handle(away, 1.0) == Line(1.0, "alice is away", "status")
    assert scene.handle(Update("room:lobby", _entry("away"), _entry()), 1.0) is None
    assert scene.handle(away, 2.0) is None
    assert scene.updates == 1


def test_people_who_were_there_before_have_not_joined() -> None:
    """What the watcher finds at its start is no event."""
    scene = Scene(["alice"], "a")
    scene.take_entry("room:lobby", _entry())
    scene.take_status(Status(user="alice", status=UserStatus.ONLINE))
    assert scene.people["alice"].rooms == ["lobby"]
    assert (scene.joins, len(scene.lines)) == (0, 0)


def test_the_rate_of_events_is_that_of_the_last_seconds() -> None:
    """Old events count no more."""
    scene = Scene(["alice"], "a")
    for second in range(10):
        scene.handle(Join("room:lobby", _entry()), float(second))
    assert scene.events_per_second(10.0) == 1.0
    assert scene.events_per_second(30.0) == 0.0


def _view(room: str, *silent: str) -> View:
    return View(
        topic=f"room:{room}",
        quality=Quality.PARTIAL if silent else Quality.COMPLETE,
        silent=list(silent),
        as_of=WallMs(1_000) if silent else None,
        unreachable=[],
    )


def test_a_cut_is_one_line_and_not_one_for_each_room() -> None:
    """The rooms learn of it one by one, and of its end."""
    scene = Scene(["alice"], "a")
    scene.handle(_view("lobby"), 0.0)
    begun = scene.handle(_view("lobby", "b"), 1.0)
    assert begun is not None
    assert begun.text.startswith("zone a has not heard b since ")
    assert scene.handle(_view("design", "b"), 1.0) is None
    assert scene.silent == ["b"]
    assert scene.handle(_view("lobby"), 2.0) is None
    assert scene.handle(_view("design"), 2.0) == Line(2.0, "zone a hears b again", "note")
    assert scene.silent == []


def test_after_a_doubt_only_what_is_new_is_told() -> None:
    """Who shows the same as before the doubt has done nothing; who does not, has."""
    scene = Scene(["alice"], "a")
    online = Status(user="alice", status=UserStatus.ONLINE)
    doubt = Status(user="alice", status=UserStatus.UNREACHABLE, as_of=WallMs(1))
    scene.handle(online, 1.0)
    assert scene.handle(doubt, 2.0) is None
    assert scene.people["alice"].status == doubt
    assert scene.handle(online, 3.0) is None
    scene.handle(doubt, 4.0)
    away = Status(user="alice", status=UserStatus.AWAY)
    assert scene.handle(away, 5.0) == Line(5.0, "alice is away", "status")
