"""`LinkMachine` as transcripts: bytes and times in, effects out, no sockets."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence_actors.core.ids import NodeId, NodeName
from presence_actors.core.instants import Instant
from presence_actors.errors import LocalProtocolError
from presence_actors.links.frames import DATA, HELLO, KEEP_ALIVE, PROOF, frame, frame_header
from presence_actors.links.handshake import LinkIdentity, Side
from presence_actors.links.limits import LinkLimits
from presence_actors.links.link import (
    FrameArrived,
    LinkClosed,
    LinkEffect,
    LinkMachine,
    LinkOpened,
    LinkPeer,
    LinkState,
    WriteBytes,
)

SECRET = b"a secret of the whole cluster"
LIMITS = LinkLimits(frame_bytes_max=100_000)
START = Instant(1_000)

DIALER_NODE = NodeId("a/g0/01")
LISTENER_NODE = NodeId("a/w0/01")


def dialer(
    *,
    secret: bytes = SECRET,
    cluster: str = "demo",
    node: NodeId = DIALER_NODE,
    expected: str | None = "a/w0",
    nonce: bytes = b"d" * 32,
) -> LinkMachine:
    """The gateway's end of a link."""
    return LinkMachine(
        identity=LinkIdentity(cluster=cluster, node=node, role="gateway", secret=secret),
        side=Side.DIALER,
        expected=None if expected is None else NodeName(expected),
        nonce=nonce,
        limits=LIMITS,
    )


def listener(*, nonce: bytes = b"l" * 32) -> LinkMachine:
    """The worker's end of a link."""
    return LinkMachine(
        identity=LinkIdentity(cluster="demo", node=LISTENER_NODE, role="worker", secret=SECRET),
        side=Side.LISTENER,
        expected=None,
        nonce=nonce,
        limits=LIMITS,
    )


def written(effects: list[LinkEffect]) -> bytes:
    """The bytes that these effects write."""
    return b"".join(effect.data for effect in effects if isinstance(effect, WriteBytes))


def told(effects: list[LinkEffect]) -> list[LinkEffect]:
    """What these effects say besides bytes."""
    return [effect for effect in effects if not isinstance(effect, WriteBytes)]


def shake_hands(
    one: LinkMachine, other: LinkMachine, now: Instant = START
) -> tuple[list[LinkEffect], list[LinkEffect]]:
    """Carry bytes between the two until there are none; what each side said, besides bytes."""
    ones, others = told([]), told([])
    to_other, to_one = written(one.start(now)), written(other.start(now))
    while to_other or to_one:
        from_other = other.receive_bytes(to_other, now) if to_other else []
        from_one = one.receive_bytes(to_one, now) if to_one else []
        ones += told(from_one)
        others += told(from_other)
        to_other, to_one = written(from_one), written(from_other)
    return ones, others


def open_pair() -> tuple[LinkMachine, LinkMachine]:
    """Both ends of an open link."""
    one, other = dialer(), listener()
    shake_hands(one, other)
    assert one.state is other.state is LinkState.OPEN
    return one, other


def closing(effects: list[LinkEffect]) -> LinkClosed:
    """The one end among these effects, which is the last of them."""
    assert isinstance(effects[-1], LinkClosed)
    assert sum(isinstance(effect, LinkClosed) for effect in effects) == 1
    return effects[-1]


# ------------------------------------------------------------------------------------ handshake


def test_two_ends_that_share_a_secret_open_and_know_each_other() -> None:
    """Hello and proof each way, then both sides are open and name the right peer."""
    ones, others = shake_hands(dialer(), listener())
    assert ones == [LinkOpened(LinkPeer(LISTENER_NODE, "worker"))]
    assert others == [LinkOpened(LinkPeer(DIALER_NODE, "gateway"))]


def test_a_peer_without_the_secret_is_refused_by_both_sides() -> None:
    """Neither side opens: each finds the other's proof wrong and says so."""
    ones, others = shake_hands(dialer(secret=b"some other secret altogether"), listener())
    assert closing(ones).code == "proof"
    assert closing(others).code == "proof"
    assert "same secret" in closing(others).reason


def test_a_peer_of_another_cluster_is_refused_with_both_names() -> None:
    """The text names both clusters."""
    ones, others = shake_hands(dialer(cluster="prod"), listener())
    reasons = closing(ones).reason + closing(others).reason
    assert closing(others).code == "cluster"
    assert "'prod'" in reasons
    assert "'demo'" in reasons


def test_a_peer_of_another_version_is_told_which_version_we_speak() -> None:
    """A hello of version 2, whatever else is in it, is refused with a refusal frame."""
    machine = listener()
    machine.start(START)
    hello = msgspec.msgpack.encode({"protocol": 2, "shape": "that nobody knows yet"})
    effects = machine.receive_bytes(frame(HELLO, hello), START)
    assert closing(effects).code == "version"
    other = dialer()
    other.start(START)
    refused = closing(other.receive_bytes(written(effects), START))
    assert refused.by_peer
    assert refused.code == "version"
    assert "version 2" in refused.reason
    assert "speaks 1" in refused.reason


def test_a_dialer_refuses_whoever_is_not_the_name_it_dialled() -> None:
    """The address of w1 is answered by w0: the dialer will have none of it."""
    ones, others = shake_hands(dialer(expected="a/w1"), listener())
    assert closing(ones).code == "name"
    assert "a/w1" in closing(ones).reason
    assert "a/w0/01" in closing(ones).reason
    assert not any(isinstance(effect, LinkOpened) for effect in ones)
    assert closing(others).code == "name"
    assert closing(others).by_peer


def test_a_dialer_that_expects_nobody_takes_whoever_proves_itself() -> None:
    """So is another zone joined: by an address alone."""
    ones, others = shake_hands(dialer(expected=None), listener())
    assert ones == [LinkOpened(LinkPeer(LISTENER_NODE, "worker"))]
    assert others == [LinkOpened(LinkPeer(DIALER_NODE, "gateway"))]


def test_a_node_refuses_a_link_with_its_own_name() -> None:
    """Dialling oneself by mistake is refused, and so is another life of the same name."""
    for node in (LISTENER_NODE, NodeId("a/w0/02")):
        _, others = shake_hands(dialer(node=node), listener())
        assert closing(others).code == "self"


def test_a_recorded_handshake_opens_nothing() -> None:
    """The dialer's very bytes, replayed to a listener with a fresh nonce, are refused."""
    one, first = dialer(), listener(nonce=b"1" * 32)
    hello = written(one.start(START))
    proof = written(one.receive_bytes(written(first.start(START)), START))
    assert [type(e) for e in told(first.receive_bytes(hello + proof, START))] == [LinkOpened]

    second = listener(nonce=b"2" * 32)
    second.start(START)
    assert closing(second.receive_bytes(hello + proof, START)).code == "proof"


def test_a_proof_cannot_be_reflected() -> None:
    """A listener that returns the dialer's own proof has proved nothing."""
    one, other = dialer(), listener()
    hello = written(other.start(START))
    one.start(START)
    proof = written(one.receive_bytes(hello, START))
    assert closing(one.receive_bytes(proof, START)).code == "proof"


def test_a_swapped_role_breaks_the_proof() -> None:
    """What stands in a hello is under the proof: nobody on the way can change it."""
    one, other = dialer(), listener()
    hello = written(one.start(START))
    proof = written(one.receive_bytes(written(other.start(START)), START))
    swapped = hello.replace(b"gateway", b"worker", 1)
    # One byte shorter: mend the frame's length and the text's length in front of it.
    payload = swapped[5:].replace(b"\xa7worker", b"\xa6worker", 1)
    effects = other.receive_bytes(frame(HELLO, payload) + proof, START)
    assert closing(effects).code == "proof"


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"protocol": "1"},
        {"protocol": 1},
        {"protocol": 1, "cluster": "demo", "node": "w0", "role": "worker", "nonce": b"n" * 32},
        {"protocol": 1, "cluster": "demo", "node": "a/b/c/d", "role": "worker", "nonce": b"n" * 32},
        {"protocol": 1, "cluster": "demo", "node": "a/w/1", "role": "king", "nonce": b"n" * 32},
        {"protocol": 1, "cluster": "demo", "node": "a/w/1", "role": "worker", "nonce": b"n"},
        {"protocol": 1, "cluster": "", "node": "a/w/1", "role": "worker", "nonce": b"n" * 32},
    ],
)
def test_a_hello_that_lacks_something_is_refused(hello: dict[str, object]) -> None:
    """A missing, mistyped or over-long field is refused as malformed."""
    machine = listener()
    machine.start(START)
    effects = machine.receive_bytes(frame(HELLO, msgspec.msgpack.encode(hello)), START)
    assert closing(effects).code == "malformed"


@pytest.mark.parametrize(
    "payload", [b"", b"\x91" * 4000, b"\xc1", b"\xa4\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"]
)
def test_a_hello_of_garbage_is_refused(payload: bytes) -> None:
    """Deep nesting, bad text and impossible sizes are refused like any other garbage."""
    machine = listener()
    machine.start(START)
    assert closing(machine.receive_bytes(frame(HELLO, payload), START)).code == "malformed"


def test_fields_that_a_later_release_adds_to_the_hello_do_no_harm() -> None:
    """A hello of our version with one more field is read."""
    machine = listener()
    machine.start(START)
    hello = {
        "protocol": 1,
        "cluster": "demo",
        "node": "a/g0/01",
        "role": "gateway",
        "nonce": b"n" * 32,
        "colour": "green",
    }
    effects = machine.receive_bytes(frame(HELLO, msgspec.msgpack.encode(hello)), START)
    assert machine.state is LinkState.WAITS_FOR_PROOF
    assert [type(effect) for effect in effects] == [WriteBytes]


def test_a_stranger_may_not_announce_a_frame_above_four_kilobytes() -> None:
    """Before the proof the limit is 4 KiB, judged by the length alone."""
    machine = listener()
    machine.start(START)
    assert machine.receive_bytes(frame_header(HELLO, 4096), START) == []
    machine = listener()
    machine.start(START)
    assert closing(machine.receive_bytes((4097).to_bytes(4, "big"), START)).code == "too_long"


def test_data_before_the_proof_is_refused() -> None:
    """Nobody gets a frame through to the host before it has proved itself."""
    machine = listener()
    hello = written(dialer().start(START))
    machine.start(START)
    effects = machine.receive_bytes(hello + frame(DATA, b"believe me"), START)
    assert closing(effects).code == "malformed"
    assert not any(isinstance(effect, FrameArrived) for effect in effects)


def test_a_second_hello_is_refused() -> None:
    """Each side says hello once."""
    machine = listener()
    hello = written(dialer().start(START))
    machine.start(START)
    assert closing(machine.receive_bytes(hello + hello, START)).code == "malformed"


def test_a_handshake_that_does_not_end_in_time_ends_the_link() -> None:
    """At 500 ms without hello, or without proof, the link is closed and says what was missing."""
    silent = listener()
    silent.start(START)
    assert silent.deadline() == START + 500
    assert silent.deadline_reached(Instant(START + 499)) == []
    assert "no hello" in closing(silent.deadline_reached(Instant(START + 500))).reason

    halfway = listener()
    halfway.start(START)
    halfway.receive_bytes(written(dialer().start(START)), START)
    assert "no proof" in closing(halfway.deadline_reached(Instant(START + 500))).reason


# ---------------------------------------------------------------------------------------- frames


def test_frames_arrive_as_they_were_sent() -> None:
    """Empty, small and large payloads come out whole and in order, both ways."""
    one, other = open_pair()
    payloads = [b"", b"x", b"y" * 5_000, b"z" * 100_000]
    for sender, receiver in ((one, other), (other, one)):
        stream = b"".join(written(sender.send(payload)) for payload in payloads)
        arrived = receiver.receive_bytes(stream, START)
        assert arrived == [FrameArrived(payload) for payload in payloads]


def test_frames_behind_the_last_proof_arrive_after_the_opening() -> None:
    """A peer that is open already may send at once: proof and data in one piece."""
    one, other = dialer(), listener()
    hello_one, hello_other = written(one.start(START)), written(other.start(START))
    proof_one = written(one.receive_bytes(hello_other, START))
    proof_other = written(other.receive_bytes(hello_one + proof_one, START))
    effects = one.receive_bytes(proof_other + written(other.send(b"first")), START)
    assert effects == [LinkOpened(LinkPeer(LISTENER_NODE, "worker")), FrameArrived(b"first")]


def test_a_frame_above_the_limit_is_not_sent_and_harms_nothing() -> None:
    """The sender raises and changes nothing; the link carries on."""
    one, other = open_pair()
    with pytest.raises(LocalProtocolError, match="100001 bytes is above the limit of 100000"):
        one.send(b"x" * 100_001)
    assert other.receive_bytes(written(one.send(b"small")), START) == [FrameArrived(b"small")]


def test_sending_before_the_opening_raises() -> None:
    """There is nobody to send to yet."""
    with pytest.raises(LocalProtocolError, match="not open"):
        dialer().send(b"x")


def test_an_announced_frame_above_the_limit_ends_the_link() -> None:
    """The length alone is enough, with what came before it intact."""
    one, other = open_pair()
    effects = other.receive_bytes(written(one.send(b"fine")) + frame_header(DATA, 100_001), START)
    assert effects[0] == FrameArrived(b"fine")
    assert closing(effects).code == "too_long"
    assert "100001" in closing(effects).reason


@pytest.mark.parametrize("kind", [0, 6, 255])
def test_an_unknown_kind_of_frame_ends_the_link(kind: int) -> None:
    """There is no way to read on behind a frame that should not exist."""
    _, other = open_pair()
    assert closing(other.receive_bytes(frame_header(kind, 0), START)).code == "malformed"


@pytest.mark.parametrize("kind", [HELLO, PROOF])
def test_a_handshake_frame_on_an_open_link_ends_it(kind: int) -> None:
    """Hello and proof have their time, and it is over."""
    _, other = open_pair()
    assert closing(other.receive_bytes(frame(kind, b"again"), START)).code == "malformed"


# ------------------------------------------------------------------------------- keep-alive, end


def test_an_open_link_sends_a_keep_alive_every_200_ms() -> None:
    """Not before it is due, and again 200 ms later."""
    one, _ = open_pair()
    assert one.deadline() == START + 200
    assert one.deadline_reached(Instant(START + 199)) == []
    for due in (START + 200, START + 400, START + 600):
        assert [type(effect) for effect in one.deadline_reached(Instant(due))] == [WriteBytes]
        assert one.deadline() == due + 200


def test_keep_alives_measure_the_round_trip() -> None:
    """30 ms there and 30 ms back are 60 ms, however long the peer held its answer."""
    one, other = open_pair()
    ping = written(one.deadline_reached(Instant(START + 200)))
    other.receive_bytes(ping, Instant(START + 230))
    pong = written(other.deadline_reached(Instant(START + 330)))
    assert one.rtt_ms is None
    one.receive_bytes(pong, Instant(START + 360))
    assert one.rtt_ms == 60


def test_a_keep_alive_with_an_impossible_echo_measures_nothing() -> None:
    """An echo from the future or from before the link is ignored."""
    one, _ = open_pair()
    for echo in (0, START - 1, START + 10_000, 2**64 - 1):
        payload = (7).to_bytes(8, "big") + echo.to_bytes(8, "big") + (0).to_bytes(8, "big")
        assert one.receive_bytes(frame(KEEP_ALIVE, payload), START) == []
    assert one.rtt_ms is None


def test_a_peer_that_is_silent_for_a_second_is_lost() -> None:
    """Any byte counts as a sign of life; a second without one ends the link."""
    one, other = open_pair()
    one.receive_bytes(written(other.send(b"alive"))[:1], Instant(START + 700))
    assert closing(one.deadline_reached(Instant(START + 1_700))).code == "silence"
    still = open_pair()[0]
    assert not told(still.deadline_reached(Instant(START + 999)))


def test_a_lost_connection_ends_the_link_once() -> None:
    """After the end nothing comes out any more, whatever goes in."""
    one, other = open_pair()
    data = written(other.send(b"late"))
    assert one.connection_lost("reset by peer") == [LinkClosed("gone", "reset by peer")]
    assert one.connection_lost("again") == []
    assert one.receive_bytes(data, START) == []
    assert one.deadline_reached(Instant(START + 9_999)) == []
    assert one.close("closing", "bye") == []
    assert one.deadline() is None


def test_closing_tells_the_peer_why() -> None:
    """The peer hears code and reason, marked as the other side's."""
    one, other = open_pair()
    effects = one.close("closing", "this node is closing")
    assert closing(effects) == LinkClosed("closing", "this node is closing")
    assert other.receive_bytes(written(effects), START) == [
        LinkClosed("closing", "this node is closing", by_peer=True)
    ]


def test_a_refusal_cannot_forge_lines_of_the_log() -> None:
    """The peer's text is cut, and control signs in it do not survive."""
    one = dialer()
    one.start(START)
    refusal = {"code": "proof", "reason": "no\nERROR all is lost\x1b[2J" + "x" * 1_000}
    effects = one.receive_bytes(frame(3, msgspec.msgpack.encode(refusal)), START)
    assert "\n" not in closing(effects).reason
    assert "\x1b" not in closing(effects).reason
    assert len(closing(effects).reason) <= 300


def test_the_secret_is_not_in_the_repr() -> None:
    """Nothing that lands in a log shows the secret."""
    identity = LinkIdentity(cluster="demo", node=DIALER_NODE, role="gateway", secret=SECRET)
    assert SECRET.decode() not in repr(identity)


# ------------------------------------------------------------------------------------ properties


@given(data=st.data(), payloads=st.lists(st.binary(max_size=300), max_size=8))
def test_frames_do_not_depend_on_how_the_bytes_are_cut(
    data: st.DataObject, payloads: list[bytes]
) -> None:
    """Handshake and frames in any pieces give what they give in one."""
    one, other = dialer(), listener()
    hello, hello_other = written(one.start(START)), written(other.start(START))
    proof = written(one.receive_bytes(hello_other, START))
    # The listener's proof opens the dialer, so that it may send.
    reference = listener()
    reference.start(START)
    one.receive_bytes(written(reference.receive_bytes(hello + proof, START)), START)
    stream = hello + proof + b"".join(written(one.send(payload)) for payload in payloads)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    effects: list[LinkEffect] = []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        effects += told(other.receive_bytes(stream[begin:end], START))
    assert effects == [
        LinkOpened(LinkPeer(DIALER_NODE, "gateway")),
        *(FrameArrived(payload) for payload in payloads),
    ]


@given(chunks=st.lists(st.binary(max_size=200), max_size=6), opened=st.booleans())
def test_arbitrary_bytes_never_raise(chunks: list[bytes], opened: bool) -> None:
    """Garbage at best waits for more, at worst ends the link, and it ends at most once."""
    if opened:
        _, machine = open_pair()
    else:
        machine = listener()
        machine.start(START)
    effects: list[LinkEffect] = []
    for chunk in chunks:
        effects += machine.receive_bytes(chunk, START)
    assert sum(isinstance(effect, LinkClosed) for effect in effects) <= 1


@given(kind=st.integers(1, 5), payload=st.binary(max_size=100), state=st.integers(0, 2))
def test_well_framed_garbage_never_raises(kind: int, payload: bytes, state: int) -> None:
    """Any kind with any payload in any state is taken or refused."""
    machine = listener()
    machine.start(START)
    if state == 1:
        machine.receive_bytes(written(dialer().start(START)), START)
    if state == 2:
        _, machine = open_pair()
    effects = machine.receive_bytes(frame(kind, payload), START)
    assert sum(isinstance(effect, LinkClosed) for effect in effects) <= 1
