"""`LinkHub` with faults in it: what a cut, a delay and a loss look like from both ends."""

import asyncio

import pytest

from presence_actors.links.faults import LinkFaults
from presence_actors.links.limits import LinkLimits
from tests.integration.links.nodes import STEP_SECONDS, Node, Play, linked_pair

pytestmark = pytest.mark.sockets


def test_a_cut_is_noticed_by_silence_and_a_healed_link_carries_again(play: Play) -> None:
    """Both sides notice within 1.5 s; a second after the heal frames cross again.

    a  --link--X (cut)  silent 1 s: lost     X--heal--> link --frame-->
    b           X       silent 1 s: lost     X--------> link
    """

    async def story() -> None:
        faults = LinkFaults()
        async with linked_pair(faults) as (one, other):
            faults.cut("a/w1")
            assert one.hub.send("a/w1", b"into the void")
            async with asyncio.timeout(1.5):
                for node in (one, other):
                    assert (await node.change())[2].startswith("silence: ")
            faults.heal()
            assert await one.change(1.0) == ("a/w1/01", True, "open")
            assert await other.change(1.0) == ("a/w0/01", True, "open")
            assert one.hub.send("a/w1", b"there you are")
            assert (await other.frame())[1] == b"there you are"

    play(story)


def test_while_a_cut_lasts_attempts_run_into_their_time_out(play: Play) -> None:
    """Whichever side has the cut: no attempt is refused at once, and none gets through."""

    async def story() -> None:
        faults = LinkFaults()
        limits = LinkLimits(retry_ms=10)
        async with (
            Node("a/w1/01", faults=faults, limits=limits) as other,
            Node("a/w0/01", limits=limits) as one,
        ):
            faults.cut("a/w0")
            one.hub.set_targets({"a/w1": other.address})
            begun = asyncio.get_running_loop().time()
            assert await one.failure() in ("late", "unreachable")
            assert asyncio.get_running_loop().time() - begun > 0.4
            assert "within 500 ms" in (one.info("a/w1").trouble or "")
            assert one.changes.empty()
            assert other.changes.empty()
            faults.heal("a/w0")
            assert await one.change(1.0) == ("a/w1/01", True, "open")

    play(story)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_one_way_cut_silences_one_direction_only(play: Play, direction: str) -> None:
    """The deaf side notices by silence; until then the other way still carries."""

    async def story() -> None:
        faults = LinkFaults()
        async with linked_pair(faults) as (one, other):
            faults.cut("a/w1", "in" if direction == "in" else "out")
            deaf, heard = (one, other) if direction == "in" else (other, one)
            to_deaf, to_heard = ("a/w0", "a/w1") if direction == "in" else ("a/w1", "a/w0")
            assert heard.hub.send(to_deaf, b"lost")
            assert deaf.hub.send(to_heard, b"carried")
            assert (await heard.frame())[1] == b"carried"
            assert (await deaf.change(1.5))[2].startswith("silence: ")
            assert deaf.frames.empty()
            assert not (await heard.change(1.5))[1]
            faults.heal()
            assert (await deaf.change(1.0))[1]
            assert (await heard.change(1.0))[1]

    play(story)


def test_a_delay_keeps_the_order_and_the_link(play: Play) -> None:
    """Also when the delay shrinks while frames are on their way."""

    async def story() -> None:
        faults = LinkFaults()
        async with linked_pair(faults) as (one, other):
            begun = asyncio.get_running_loop().time()
            faults.delay("a/w1", 150, "out")
            assert all(one.hub.send("a/w1", b"%d" % number) for number in range(10))
            faults.delay("a/w1", 0)
            assert all(one.hub.send("a/w1", b"%d" % number) for number in range(10, 20))
            assert [(await other.frame())[1] for _ in range(20)] == [b"%d" % n for n in range(20)]
            assert asyncio.get_running_loop().time() - begun >= 0.14
            assert one.changes.empty()

    play(story)


def test_a_link_opens_through_a_delay_of_a_hundred_milliseconds(play: Play) -> None:
    """The handshake is one round trip, and the round trip is measured."""

    async def story() -> None:
        faults = LinkFaults()
        faults.delay("a/w1", 100)
        async with linked_pair(faults) as (one, other):
            async with asyncio.timeout(STEP_SECONDS):
                while (rtt_ms := one.info("a/w1").rtt_ms) is None:
                    one.hub.send("a/w1", b"tick")
                    await other.frame()
            assert rtt_ms >= 195

    play(story)


def test_loss_loses_the_asked_for_fraction_and_nothing_else(play: Play) -> None:
    """What arrives is whole and in order."""

    async def story() -> None:
        faults = LinkFaults(seed=1)
        async with linked_pair(faults) as (one, other):
            faults.loss("a/w1", 0.5, "out")
            sent = [b"%d" % number for number in range(200)]
            assert all(one.hub.send("a/w1", payload) for payload in sent)
            faults.heal()
            assert one.hub.send("a/w1", b"end")
            arrived: list[bytes] = []
            while (payload := (await other.frame())[1]) != b"end":
                arrived.append(payload)
            assert 60 < len(arrived) < 140
            assert arrived == sorted(set(arrived), key=int)

    play(story)
