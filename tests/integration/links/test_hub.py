"""`LinkHub` over real TCP on loopback, on both event loops: what only sockets can show."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any

import pytest

from presence_actors.core.ids import NodeId
from presence_actors.errors import ConfigError, UsageError
from presence_actors.links.faults import LinkFaults
from presence_actors.links.hub import LinkHub
from presence_actors.links.limits import LinkLimits
from tests.integration.links.nodes import SECRET, STEP_SECONDS, Node, Play, linked_pair

pytestmark = pytest.mark.sockets


# ---------------------------------------------------------------------------------- carrying


def test_frames_cross_both_ways_whole_and_in_order(play: Play) -> None:
    """From empty to two megabytes, and five hundred small ones in one turn of the loop."""

    async def story() -> None:
        async with linked_pair() as (one, other):
            payloads = [b"", b"x", b"y" * 2_000_000, *(b"%d" % number for number in range(500))]
            for sender, receiver, to in ((one, other, "a/w1"), (other, one, "a/w0")):
                assert all(sender.hub.send(to, payload) for payload in payloads)
                assert [(await receiver.frame())[1] for _ in payloads] == payloads
                assert sender.info(to).frames_out == len(payloads)
                assert sender.info(to).bytes_out == sum(map(len, payloads))
            assert one.info("a/w1").frames_in == len(payloads)
            assert one.info("a/w1").dropped == 0

    play(story)


def test_what_is_sent_on_opening_comes_behind_the_proof(play: Play) -> None:
    """Whoever hears of an opening may send at once (2026-11-24: workers were never linked)."""

    async def story() -> None:
        async with Node("a/w1/01") as other, Node("a/w0/01") as one:
            for node, to in ((one, "a/w1"), (other, "a/w0")):
                hub = node.hub
                hub._on_link = lambda *_, hub=hub, to=to: hub.send(to, b"at once")
            one.hub.set_targets({"a/w1": other.address})
            assert await one.frame() == ("a/w1/01", b"at once")
            assert await other.frame() == ("a/w0/01", b"at once")

    play(story)


def test_many_small_frames_of_one_turn_leave_in_one_write(play: Play) -> None:
    """A hundred frames are handed to the transport together, once the loop has come round."""

    async def story() -> None:
        async with linked_pair() as (one, _):
            connection = next(iter(one.hub._connections))
            transport = connection._transport
            assert transport is not None
            writes: list[int] = []

            class Counting:
                """The transport, with its writes counted."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(transport, name)

                def writelines(self, chunks: list[bytes]) -> None:
                    writes.append(len(chunks))
                    transport.writelines(chunks)  # type: ignore[union-attr]

            connection._transport = Counting()  # type: ignore[assignment]
            for _ in range(100):
                one.hub.send("a/w1", b"small")
            assert writes == []
            await asyncio.sleep(0)
            assert writes == [100]
            connection._transport = transport

    play(story)


def test_a_send_to_nobody_is_refused_and_counted(play: Play) -> None:
    """No link, no wait, no exception."""

    async def story() -> None:
        async with Node("a/w0/01") as one:
            assert not one.hub.send("a/w9", b"x")
            assert one.info("a/w9").dropped == 1
            assert not one.info("a/w9").open

    play(story)


def test_a_full_queue_drops_and_counts_and_the_rest_arrives(play: Play) -> None:
    """Within one turn of the loop ten kilobytes fit, and not a byte more."""

    async def story() -> None:
        async with linked_pair(limits=LinkLimits(queue_bytes_max=10_000)) as (one, other):
            accepted = [one.hub.send("a/w1", b"%4d" % number * 250) for number in range(15)]
            kept = accepted.count(True)
            # Each frame has five bytes of header, so the tenth finds no room.
            assert accepted == [True] * 9 + [False] * 6
            assert one.info("a/w1").dropped == 6
            assert [(await other.frame())[1][:4] for _ in range(kept)] == [
                b"%4d" % number for number in range(kept)
            ]
            assert one.hub.send("a/w1", b"room again")
            assert (await other.frame())[1] == b"room again"

    play(story)


def test_a_frame_above_the_limit_is_dropped_and_harms_nothing(play: Play) -> None:
    """Counted like any other refusal; the link carries on."""

    async def story() -> None:
        async with linked_pair(limits=LinkLimits(frame_bytes_max=1_000)) as (one, other):
            assert not one.hub.send("a/w1", b"x" * 1_001)
            assert one.info("a/w1").dropped == 1
            assert one.hub.send("a/w1", b"x" * 1_000)
            assert (await other.frame())[1] == b"x" * 1_000

    play(story)


# ----------------------------------------------------------------------------- coming and going


def test_a_peer_that_starts_late_is_linked_once_it_is_there(play: Play) -> None:
    """Attempts go on while nobody listens."""

    async def story() -> None:
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            port = place.getsockname()[1]
        async with Node("a/w0/01") as one:
            one.hub.set_targets({"a/w1": ("127.0.0.1", port)})
            assert await one.failure() == "unreachable"
            async with Node("a/w1/01", port=port) as other:
                assert await one.change(1.0) == ("a/w1/01", True, "open")
                assert await other.change() == ("a/w0/01", True, "open")

    play(story)


def test_a_restarted_peer_is_linked_again_under_its_new_incarnation(play: Play) -> None:
    """The host hears the loss of the old life, then the opening of the new one."""

    async def story() -> None:
        async with Node("a/w0/01") as one:
            async with Node("a/w1/01") as first:
                one.hub.set_targets({"a/w1": first.address})
                assert await one.change() == ("a/w1/01", True, "open")
            node, is_open, reason = await one.change()
            assert (node, is_open) == ("a/w1/01", False)
            assert reason == "closing: this node is closing"
            async with Node("a/w1/02", port=first.port) as second:
                assert await one.change() == ("a/w1/02", True, "open")
                assert one.hub.send("a/w1", b"welcome")
                assert await second.frame() == ("a/w0/01", b"welcome")

    play(story)


def test_a_new_incarnation_replaces_the_old_and_not_the_other_way(play: Play) -> None:
    """Two lives of one name: the later one has the link, the older one is refused."""

    async def story() -> None:
        async with Node("a/w1/01") as other, Node("a/w0/01") as old, Node("a/w0/02") as new:
            old.hub.set_targets({"a/w1": other.address})
            assert await other.change() == ("a/w0/01", True, "open")
            new.hub.set_targets({"a/w1": other.address})
            node, is_open, reason = await other.change()
            assert (node, is_open) == ("a/w0/01", False)
            assert reason.startswith("replaced: ")
            assert await other.change() == ("a/w0/02", True, "open")
            # The older life opens and is put out at once, or hears why before it opens.
            while "superseded" not in (await old.change())[2]:
                pass
            assert other.info("a/w0").node == "a/w0/02"
            assert other.info("a/w0").trouble is None
            assert other.changes.empty()

    play(story)


def test_an_older_life_that_keeps_coming_is_logged_once(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """Five times put out, one line on the side that does it."""

    async def story() -> None:
        limits = LinkLimits(superseded_retry_ms=10)
        async with (
            Node("a/w1/01") as other,
            Node("a/w0/01", limits=limits) as old,
            Node("a/w0/02") as new,
        ):
            new.hub.set_targets({"a/w1": other.address})
            assert await other.change() == ("a/w0/02", True, "open")
            old.hub.set_targets({"a/w1": other.address})
            for _ in range(5):
                while "superseded" not in (await old.change())[2]:
                    pass
            assert other.changes.empty()

    with caplog.at_level(logging.WARNING):
        play(story)
    assert sum("from=a/w0 " in line for line in caplog.messages) == 1


def test_a_changed_address_is_dialled_anew_and_a_removed_target_is_left(play: Play) -> None:
    """The old link ends in both cases, and only the changed one comes back."""

    async def story() -> None:
        async with linked_pair() as (one, other), Node("a/w1/02") as moved:
            one.hub.set_targets({"a/w1": moved.address})
            assert await one.change() == ("a/w1/01", False, "closing: its address changed")
            assert await one.change() == ("a/w1/02", True, "open")
            assert (await other.change())[:2] == ("a/w0/01", False)
            one.hub.set_targets({})
            assert await one.change() == ("a/w1/02", False, "closing: no target any more")
            assert await moved.change() == ("a/w0/01", True, "open")
            assert (await moved.change())[:2] == ("a/w0/01", False)

    play(story)


def test_targets_that_stay_keep_their_link(play: Play) -> None:
    """The same targets again change nothing."""

    async def story() -> None:
        async with linked_pair() as (one, other):
            one.hub.set_targets({"a/w1": other.address})
            assert one.hub.send("a/w1", b"still here")
            assert (await other.frame())[1] == b"still here"
            assert one.changes.empty()

    play(story)


# ------------------------------------------------------------------------------------- strangers


def test_a_wrong_secret_never_opens_and_is_logged_once(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """Five attempts on, each side has logged one line, and nobody has opened."""

    async def story() -> None:
        limits = LinkLimits(retry_ms=10)
        async with (
            Node("a/w1/01") as other,
            Node("a/w0/01", secret=b"quite another secret", limits=limits) as one,
        ):
            one.hub.set_targets({"a/w1": other.address})
            assert [await one.failure() for _ in range(5)] == ["proof"] * 5
            assert one.changes.empty()
            assert other.changes.empty()
            assert "same secret" in (one.info("a/w1").trouble or "")

    with caplog.at_level(logging.WARNING):
        play(story)
    assert sum("peer=a/w1 code=proof" in line for line in caplog.messages) == 1
    assert sum("address=127.0.0.1" in line for line in caplog.messages) == 1


def test_garbage_at_the_port_harms_nobody(play: Play) -> None:
    """A browser that knocks is told and put out; the open link does not notice."""

    async def story() -> None:
        async with linked_pair() as (one, other):
            reader, writer = await asyncio.open_connection(*other.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            async with asyncio.timeout(STEP_SECONDS):
                # A reset is as good an end as a clean one.
                with suppress(ConnectionError):
                    await reader.read()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            assert one.hub.send("a/w1", b"undisturbed")
            assert (await other.frame())[1] == b"undisturbed"

    play(story)


def test_strangers_above_the_limit_are_put_out(play: Play) -> None:
    """With two handshakes under way a third is closed at once; the first two are not."""

    async def story() -> None:
        limits = LinkLimits(strangers_max=2, handshake_ms=60_000)
        async with Node("a/w1/01", limits=limits) as node:
            streams = [await asyncio.open_connection(*node.address) for _ in range(3)]
            async with asyncio.timeout(STEP_SECONDS):
                assert b"handshakes are under way" in await streams[2][0].read()
                first_hello = await streams[0][0].read(5)
            assert len(first_hello) == 5
            for _, writer in streams:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    play(story)


# ----------------------------------------------------------------------------------------- usage


def test_faults_are_refused_off_loopback() -> None:
    """Nobody injects faults into a hub that the network can reach."""
    for host in ("0.0.0.0", "10.1.2.3", "::", "example.org"):  # noqa: S104  # what is refused
        with pytest.raises(ConfigError, match="loopback"):
            LinkHub(
                node=NodeId("a/w0/01"),
                role="worker",
                cluster="demo",
                secret=SECRET,
                host=host,
                port=0,
                on_frame=lambda *_: None,
                faults=LinkFaults(),
            )


@pytest.mark.parametrize(
    ("change", "knob"),
    [
        ({"secret": b"short"}, "secret"),
        ({"role": "king"}, "role"),
        ({"node": NodeId("w0")}, "node"),
        ({"limits": LinkLimits(silence_ms=400)}, "silence_ms"),
        ({"limits": LinkLimits(retry_ms=0)}, "retry_ms"),
    ],
)
def test_a_hub_that_makes_no_sense_is_refused(change: dict[str, Any], knob: str) -> None:
    """The error names the knob, and never the secret."""
    settings: dict[str, Any] = {
        "node": NodeId("a/w0/01"),
        "role": "worker",
        "cluster": "demo",
        "secret": SECRET,
        "host": "127.0.0.1",
        "port": 0,
        "on_frame": lambda *_: None,
    }
    with pytest.raises(ConfigError, match=knob) as caught:
        LinkHub(**(settings | change))
    assert "short" not in str(caught.value)


def test_a_taken_port_is_refused_in_one_line(play: Play) -> None:
    """The error names the address and what to do."""

    async def story() -> None:
        async with Node("a/w0/01") as one:
            with pytest.raises(ConfigError, match="cannot be listened on") as caught:
                await Node("a/w1/01", port=one.port).hub.start()
            assert str(one.port) in str(caught.value)

    play(story)


@pytest.mark.parametrize(
    "targets",
    [{"a/w0": ("127.0.0.1", 1)}, {"a/w1": ("127.0.0.1", 0)}, {"a/w1": ("", 5)}],
)
def test_a_target_that_makes_no_sense_is_refused(
    play: Play, targets: dict[str, tuple[str, int]]
) -> None:
    """Oneself, no port, no host: refused, and the targets stay as they were."""

    async def story() -> None:
        async with linked_pair() as (one, _):
            with pytest.raises(UsageError):
                one.hub.set_targets(targets)
            assert one.info("a/w1").open

    play(story)
