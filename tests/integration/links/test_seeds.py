"""`LinkHub.set_seeds`: addresses that are dialled without knowing who is there."""

import asyncio
from collections.abc import Callable

import pytest

from presence_actors.errors import UsageError
from presence_actors.links.connection import SeedInfo
from presence_actors.links.faults import LinkFaults
from presence_actors.links.limits import LinkLimits
from tests.integration.links.nodes import STEP_SECONDS, Node, Play

pytestmark = pytest.mark.sockets

#: Soon again, so that no test waits for a pause.
LIMITS = LinkLimits(retry_ms=10, seed_retry_ms=20)


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds: nothing is told of an attempt that came to nothing."""
    async with asyncio.timeout(STEP_SECONDS):
        while not condition():  # noqa: ASYNC110  # a hub has no event for an attempt that failed
            await asyncio.sleep(0.01)


def test_a_seed_learns_who_is_there_and_carries_frames(play: Play) -> None:
    """From then on it is a link like any other, by name."""

    async def story() -> None:
        async with Node("a/w1/01") as other, Node("b/w0/01") as one:
            one.hub.set_seeds([other.address])
            assert await one.change() == ("a/w1/01", True, "open")
            assert await other.change() == ("b/w0/01", True, "open")
            assert one.hub.seeds() == [SeedInfo(address=other.address, name="a/w1", open=True)]
            assert one.hub.send("a/w1", b"hello")
            assert (await other.frame())[1] == b"hello"

    play(story)


def test_seeds_that_were_set_before_the_start_are_dialled(play: Play) -> None:
    """As targets are."""

    async def story() -> None:
        one = Node("b/w0/01")
        async with Node("a/w1/01") as other:
            one.hub.set_seeds([other.address])
            assert one.hub.seeds() == [SeedInfo(address=other.address, name=None, open=False)]
            async with one:
                assert await one.change() == ("a/w1/01", True, "open")

    play(story)


def test_whoever_is_at_the_address_later_is_found(play: Play) -> None:
    """A new life, and then somebody else: the address is what counts."""

    async def story() -> None:
        async with Node("b/w0/01", limits=LIMITS) as one:
            first = Node("a/w1/01")
            async with first:
                one.hub.set_seeds([first.address])
                assert await one.change() == ("a/w1/01", True, "open")
            address = first.address
            assert (await one.change())[:2] == ("a/w1/01", False)
            for node in ("a/w1/02", "c/w0/01"):
                async with Node(node, port=address[1]):
                    assert await one.change() == (node, True, "open")
                    assert one.hub.seeds()[0].name == node.rpartition("/")[0]
                assert (await one.change())[:2] == (node, False)

    play(story)


def test_a_seed_rests_while_its_peer_has_dialled_us(play: Play) -> None:
    """The link that the peer made by name is not put out by another attempt."""

    async def story() -> None:
        async with Node("b/w0/01", limits=LIMITS) as one, Node("a/w1/01", limits=LIMITS) as other:
            one.hub.set_seeds([other.address])
            assert await one.change() == ("a/w1/01", True, "open")
            assert await other.change() == ("b/w0/01", True, "open")
            other.hub.set_targets({"b/w0": one.address})
            for connection in list(one.hub._connections):
                connection.close("closing", "for a test")
            for node in (one, other):
                assert not (await node.change())[1]
                assert (await node.change())[1]
            # Whoever was faster: several pauses later the same link is there.
            linked = one.hub._links["a/w1"]
            await asyncio.sleep(0.2)
            assert one.hub._links["a/w1"] is linked
            assert one.hub.seeds()[0].open
            assert one.changes.empty()

    play(story)


def test_seeds_that_are_taken_back_are_no_longer_dialled_and_links_stay(play: Play) -> None:
    """Zones know each other by name by then."""

    async def story() -> None:
        async with Node("b/w0/01", limits=LIMITS) as one:
            async with Node("a/w1/01") as other:
                one.hub.set_seeds([other.address])
                assert await one.change() == ("a/w1/01", True, "open")
                one.hub.set_seeds([])
                assert one.hub.seeds() == []
                assert one.hub.send("a/w1", b"still here")
                assert (await other.frame())[1] == b"still here"
            assert not (await one.change())[1]
            assert one.hub._seed_dialers == {}

    play(story)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("shards", "has 16 shards and b/w0 has 8"),
        ("proof", "secret"),
        ("self", "own name"),
        ("unreachable", "127.0.0.1:"),
    ],
)
def test_why_a_seed_is_not_linked_can_be_told(play: Play, code: str, says: str) -> None:
    """One word for programs, a sentence for people."""

    async def story() -> None:
        secret = b"some other secret of a cluster" if code == "proof" else b"s" * 32
        name = "b/w0/02" if code == "self" else "a/w1/01"
        shards = 16 if code == "shards" else 8
        async with (
            Node(name, secret=secret, shards=shards) as there,
            Node("b/w0/01", secret=b"s" * 32, shards=8) as one,
        ):
            if code == "unreachable":
                await there.hub.close()
            one.hub.set_seeds([there.address])
            await until(lambda: one.hub.seeds()[0].code == code)
            seed = one.hub.seeds()[0]
            assert not seed.open
            assert says in seed.trouble
            assert one.changes.empty()

    play(story)


def test_two_hubs_that_both_take_faults_meet_by_an_address(play: Play) -> None:
    """The dialer speaks first: the listener waits to hear who it is."""

    async def story() -> None:
        async with (
            Node("a/w1/01", faults=LinkFaults()) as other,
            Node("b/w0/01", faults=LinkFaults()) as one,
        ):
            one.hub.set_seeds([other.address])
            assert await one.change() == ("a/w1/01", True, "open")

    play(story)


@pytest.mark.parametrize("cutting", ["dialer", "listener"])
def test_a_cut_by_name_keeps_a_seed_out_until_it_is_healed(play: Play, cutting: str) -> None:
    """Also at the first attempt, which does not know the name yet, and after a link was lost."""

    async def story() -> None:
        faults = {"dialer": LinkFaults(), "listener": LinkFaults()}
        async with (
            Node("a/w1/01", faults=faults["listener"], limits=LIMITS) as other,
            Node("b/w0/01", faults=faults["dialer"], limits=LIMITS) as one,
        ):
            peer = "a/w1" if cutting == "dialer" else "b/w0"
            faults[cutting].cut(peer)
            one.hub.set_seeds([other.address])
            await until(lambda: one.hub.seeds()[0].code == "late")
            assert one.changes.empty()
            faults[cutting].heal()
            assert await one.change() == ("a/w1/01", True, "open")
            faults[cutting].cut(peer)
            assert (await one.change())[2].startswith("silence: ")
            await until(lambda: one.hub.seeds()[0].code in ("late", "unreachable"))
            assert one.changes.empty()
            faults[cutting].heal()
            assert await one.change() == ("a/w1/01", True, "open")

    play(story)


@pytest.mark.parametrize("address", [("", 4050), ("127.0.0.1", 0), ("127.0.0.1", 65_536)])
def test_an_address_that_makes_no_sense_is_refused(play: Play, address: tuple[str, int]) -> None:
    """At once, not at each attempt."""

    async def story() -> None:
        with pytest.raises(UsageError, match="nobody can be dialled"):
            Node("b/w0/01").hub.set_seeds([address])

    play(story)


def test_a_seed_that_is_put_out_by_a_later_life_does_not_hurry_back(play: Play) -> None:
    """Each attempt would open and end at once, for as long as the later life is there."""

    async def story() -> None:
        limits = LinkLimits(retry_ms=1, seed_retry_ms=1, superseded_retry_ms=60_000)
        async with (
            Node("a/w1/01") as other,
            Node("b/w0/02") as new,
            Node("b/w0/01", limits=limits) as old,
        ):
            new.hub.set_seeds([other.address])
            assert await other.change() == ("b/w0/02", True, "open")
            old.hub.set_seeds([other.address])
            while "superseded" not in (await old.change())[2]:
                pass
            await asyncio.sleep(0.1)
            assert old.changes.empty()

    play(story)
