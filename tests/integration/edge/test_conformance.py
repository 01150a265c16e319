"""RFC 6455 by the letter: each library for sockets must pass, on each loop.

The cases follow those of the Autobahn test suite, as far as our protocols can meet them:
framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits.
"""

import asyncio

import pytest

from presence_actors.config import SocketLibrary
from presence_actors.core.effects import Deliver
from presence_actors.core.events import ClientConnected, ClientDisconnected, ClientSent
from presence_actors.core.limits import CLIENT_FRAME_BYTES_MAX
from presence_actors.core.vocabulary import Ok, Ping
from presence_actors.edge.limits import EdgeLimits
from tests.integration.edge.raw_socket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FINAL,
    PING,
    PONG,
    TEXT,
    RawSocket,
    frame,
    text,
)
from tests.integration.edge.scripted import STEP_SECONDS, Gateway, Play, witness

pytestmark = pytest.mark.sockets

QUESTION = b'{"type":"ping","t":5}'


async def expect_failure(gateway: Gateway, *sent: bytes, code: int) -> None:
    """A client that sends this is closed with the code; others are served on."""
    async with witness(gateway):
        raw = await RawSocket.open(gateway)
        for data in sent:
            raw.send(data)
        assert await raw.end() == code
        await gateway.machine.until(ClientDisconnected)


# -------------------------------------------------------------------------------------- framing


@pytest.mark.parametrize("size", [21, 125, 126, 127, 65_535, CLIENT_FRAME_BYTES_MAX])
def test_a_text_of_any_length_is_read(play: Play, size: int) -> None:
    """Each form of the length, and the largest that we take."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | TEXT, QUESTION.ljust(size)))
            assert b'"t":5' in (await raw.frame()).payload

    play(story)


def test_a_frame_that_comes_in_single_bytes_is_read(play: Play) -> None:
    """Header, mask and payload may each arrive apart."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            await raw.send_slowly(frame(FINAL | TEXT, QUESTION.ljust(300)))
            assert b'"t":5' in (await raw.frame()).payload

    play(story)


def test_a_binary_message_is_told_from_a_text(play: Play) -> None:
    """Whole or in pieces."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | BINARY, QUESTION))
            assert b"binary" in (await raw.frame()).payload
            raw.send(frame(BINARY, QUESTION[:4]) + frame(FINAL | CONTINUATION, QUESTION[4:]))
            assert b"binary" in (await raw.frame()).payload
            assert await raw.is_served()

    play(story)


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            pytest.param(frame(FINAL | bits << 4 | TEXT, QUESTION), id=f"reserved bits {bits:03b}")
            for bits in range(1, 8)
        ),
        *(
            pytest.param(frame(FINAL | opcode, QUESTION), id=f"opcode {opcode:#x}")
            for opcode in (*range(3, 8), *range(11, 16))
        ),
        pytest.param(frame(FINAL | PING, b"x" * 126), id="a ping of 126 bytes"),
        pytest.param(frame(FINAL | CLOSE, b"\x03\xe8" + b"x" * 124), id="a close of 126 bytes"),
        pytest.param(frame(PING), id="a ping in pieces"),
        pytest.param(frame(FINAL | CONTINUATION, b"x"), id="a piece without a beginning"),
        pytest.param(frame(TEXT, b"x") + frame(FINAL | TEXT, b"y"), id="a text within a text"),
    ],
)
def test_a_frame_that_breaks_the_protocol_ends_the_connection(play: Play, wrong: bytes) -> None:
    """With 1002, as the standard has it; nobody else notices."""

    async def story() -> None:
        async with Gateway() as gateway:
            await expect_failure(gateway, wrong, code=1002)
            assert Ping(t=5) not in [sent.message for sent in gateway.machine.told(ClientSent)]

    play(story)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(frame(FINAL | TEXT, QUESTION, mask=b""), id="not masked"),
        *(
            pytest.param(frame(FINAL | CLOSE, code.to_bytes(2, "big")), id=f"code {code}")
            for code in (0, 1006, 5000, 65_535)
        ),
    ],
)
def test_what_aiohttp_lets_pass_ends_the_connection(
    play: Play, sockets: SocketLibrary, wrong: bytes
) -> None:
    """It harms nobody but its sender, so the second library may stay as it is."""
    if sockets is SocketLibrary.AIOHTTP:
        pytest.skip("aiohttp takes frames without a mask, and codes that never stand in a frame")

    async def story() -> None:
        async with Gateway() as gateway:
            await expect_failure(gateway, wrong, code=1002)

    play(story)


@pytest.mark.parametrize("size", [CLIENT_FRAME_BYTES_MAX + 1, 1 << 40])
def test_a_frame_that_announces_too_much_is_refused_before_it_comes(play: Play, size: int) -> None:
    """Its header is enough; whoever sends on can read why."""

    async def story() -> None:
        async with Gateway() as gateway:
            head = bytes((FINAL | TEXT, 0xFF)) + size.to_bytes(8, "big") + bytes(4)
            await expect_failure(gateway, head, b"x" * 500_000, code=1009)

    play(story)


def test_what_follows_a_broken_frame_is_not_gathered(play: Play) -> None:
    """A client may send for as long as it takes to close; nothing of it is kept."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | 3, b""))
            for _ in range(50):
                raw.send(text(QUESTION.decode()))
            assert await raw.end() == 1002
            await gateway.machine.until(ClientDisconnected)
            assert gateway.driver.connections == 0

    play(story)


# ---------------------------------------------------------------------------------------- pings


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe", b"x" * 125])
def test_a_ping_is_answered_with_its_payload(play: Play, payload: bytes) -> None:
    """Whatever it is, up to the limit of the standard."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(3 * frame(FINAL | PING, payload))
            for _ in range(3):
                assert await raw.frame() == (FINAL | PONG, payload)

    play(story)


def test_a_pong_that_nobody_asked_for_is_passed_over(play: Play) -> None:
    """It may serve as a sign of life in one direction."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | PONG, b"unasked"))
            assert await raw.is_served()

    play(story)


def test_a_client_that_answers_pings_stays_and_a_silent_one_goes(play: Play) -> None:
    """A wire that was cut says nothing itself."""

    async def story() -> None:
        async with Gateway(ping_ms=100) as gateway:
            lively = await gateway.connect(autoping=True)
            listening = asyncio.create_task(lively.socket.receive())
            raw = await RawSocket.open(gateway)
            assert (await raw.frame()).first == FINAL | PING
            await gateway.machine.until(ClientDisconnected)
            assert gateway.driver.connections == 1
            assert not listening.done()
            listening.cancel()

    play(story)


# ------------------------------------------------------------------------------------- fragments


@pytest.mark.parametrize("count", [2, 5, 21])
def test_a_text_in_pieces_is_one_text(play: Play, count: int) -> None:
    """Also where a piece is empty, and where pings stand between them."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            size = len(QUESTION) // count
            cuts = [QUESTION[n * size : (n + 1) * size] for n in range(count - 1)]
            last = QUESTION[(count - 1) * size :]
            raw.send(frame(TEXT, cuts[0]))
            for index, piece in enumerate(cuts[1:]):
                raw.send(frame(FINAL | PING, b"%d" % index) + frame(CONTINUATION, piece))
                assert await raw.frame() == (FINAL | PONG, b"%d" % index)
            raw.send(frame(CONTINUATION) + frame(FINAL | CONTINUATION, last))
            assert b'"t":5' in (await raw.frame()).payload
            assert await raw.is_served()

    play(story)


# ----------------------------------------------------------------------------------------- UTF-8


def test_a_character_may_be_cut_by_pieces(play: Play) -> None:
    """What must be valid is the whole text."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            words = '{"type":"set","id":1,"topic":"room:κόσμε😀"}'.encode()
            for index in range(len(words)):
                raw.send(frame(CONTINUATION if index else TEXT, words[index : index + 1]))
            raw.send(frame(FINAL | CONTINUATION))
            assert b'"ok"' in (await raw.frame()).payload
            assert '"topic":"room:κόσμε😀"'.encode() in words

    play(story)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\xc0\xaf", id="overlong"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond the last character"),
        pytest.param(b"\xce", id="cut off"),
        pytest.param(b"\xff", id="no start"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_text_that_is_no_utf_8_ends_the_connection(play: Play, words: bytes, pieces: int) -> None:
    """With 1007."""

    async def story() -> None:
        async with Gateway() as gateway:
            whole = frame(FINAL | TEXT, words)
            cut = frame(TEXT, words[:1]) + frame(FINAL | CONTINUATION, words[1:])
            await expect_failure(gateway, whole if pieces == 1 else cut, code=1007)

    play(story)


# --------------------------------------------------------------------------------------- closing


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="no code"),
        *(
            pytest.param(code.to_bytes(2, "big") + reason, id=f"{code} {reason!r}")
            for code in (1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999)
            for reason in (b"", b"bye")
        ),
        pytest.param(b"\x03\xe8" + b"x" * 123, id="the longest reason"),
    ],
)
def test_a_client_that_closes_gets_its_answer(play: Play, payload: bytes) -> None:
    """The same code, or 1000, and then the end of the stream; what it says after does not count."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | CLOSE, payload) + text(QUESTION.decode()))
            answer = await raw.frame()
            assert answer.first == FINAL | CLOSE
            # aiohttp says that all is well, whatever the client closed with.
            said = int.from_bytes(payload[:2], "big") if payload else None
            assert answer.code in (said, 1000)
            await gateway.machine.until(ClientDisconnected)
            assert Ping(t=5) not in [sent.message for sent in gateway.machine.told(ClientSent)]

    play(story)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b"\x03", 1002, id="half a code"),
        *(
            pytest.param(code.to_bytes(2, "big"), 1002, id=str(code))
            for code in (999, 1004, 1005, 1016, 1100, 2000, 2999)
        ),
        pytest.param(b"\x03\xe8\xff", 1007, id="a reason that is no UTF-8"),
    ],
)
def test_a_closing_frame_that_is_none_is_answered_with_what_is_wrong(
    play: Play, payload: bytes, code: int
) -> None:
    """The connection is lost in either case, and not in order."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(frame(FINAL | CLOSE, payload))
            assert await raw.end() == code
            assert (await gateway.machine.until(ClientDisconnected)).orderly is False

    play(story)


def test_a_client_that_is_closed_and_answers_is_let_go(play: Play) -> None:
    """What we close with arrives, and the stream ends when the client has answered."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(text('{"type":"bye"}'))
            assert await raw.end() == 1000
            assert gateway.driver.connections == 0

    play(story)


def test_a_client_that_is_closed_and_does_not_answer_is_cut_off(play: Play) -> None:
    """It has `close_ms`."""

    async def story() -> None:
        async with Gateway(limits=EdgeLimits(close_ms=100)) as gateway:
            raw = await RawSocket.open(gateway)
            raw.send(text('{"type":"bye"}'))
            assert (await raw.frame()).first == FINAL | CLOSE
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await raw.body(1)
            assert gateway.driver.connections == 0

    play(story)


def test_a_client_that_closes_its_direction_only_is_gone(play: Play) -> None:
    """A half-closed socket serves nobody."""

    async def story() -> None:
        async with Gateway() as gateway:
            raw = await RawSocket.open(gateway)
            raw.say_no_more()
            assert (await gateway.machine.until(ClientDisconnected)).orderly is False
            assert await raw.end() in (None, 1000, 1006)

    play(story)


def test_a_client_that_vanishes_is_reported_once(play: Play) -> None:
    """A reset is no orderly end."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            raw = await RawSocket.open(gateway)
            raw.vanish()
            assert (await gateway.machine.until(ClientDisconnected)).orderly is False
            await asyncio.sleep(0.05)
            assert len(gateway.machine.told(ClientDisconnected)) == 1

    play(story)


# ------------------------------------------------------------------------------- slow and greedy


def test_a_client_that_reads_nothing_holds_little_and_is_let_go(play: Play) -> None:
    """However much there is to tell, what waits for it is bounded; others get everything."""

    async def story() -> None:
        limits = EdgeLimits(unsent_bytes_max=200_000, close_ms=100)
        async with Gateway(limits=limits) as gateway, witness(gateway):
            raw = await RawSocket.open(gateway)
            connection = gateway.machine.told(ClientConnected)[-1].connection
            raw.hear_nothing()
            worst = 0
            async with asyncio.timeout(STEP_SECONDS):
                while client := gateway.driver._clients.get(connection):
                    gateway.perform(Deliver([connection], Ok(id="x" * 50_000)))
                    worst = max(worst, client.conn.unsent_bytes)
                    await asyncio.sleep(0)
            assert 0 < worst < 400_000
            assert gateway.driver.counts["too_slow"] == 1

    play(story)


def test_a_client_that_pings_and_reads_nothing_makes_nothing_wait(play: Play) -> None:
    """Its answers would pile up otherwise: a way to fill our memory for free."""

    async def story() -> None:
        async with Gateway() as gateway, witness(gateway):
            raw = await RawSocket.open(gateway)
            (conn,) = [
                client.conn
                for client in gateway.driver._clients.values()
                if client.id == gateway.machine.told(ClientConnected)[-1].connection
            ]
            raw.hear_nothing()
            worst = 0
            for _ in range(400):
                raw.send(100 * frame(FINAL | PING, b"x" * 125))
                await asyncio.sleep(0.001)
                worst = max(worst, conn.unsent_bytes)
            # Of five millions; aiohttp waits for its reader only beyond a quarter of one.
            assert worst < 300_000
            raw.vanish()

    play(story)
