"""Thousands of clients in one process, as lean as Python allows: epoll, and no event loop.

`Crowd` is told what to do through a pipe and answers when it is done, so that nothing of it runs
within what is measured. A frame costs it some three microseconds. It checks what it must to be sure
of its counts, and no more.
"""

from __future__ import annotations

import errno
import multiprocessing
import random
import re
import select
import signal
import socket
import struct
import time
from array import array
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

import msgspec

from benchmarks.websocket_client import client_frame
from presence_actors.core.ids import SessionId
from presence_actors.core.instants import WallMs
from presence_actors.core.vocabulary import Hello, Patch, Set, Sub
from presence_actors.wire.native import SUBPROTOCOL, encode_client

__all__ = ["Clients", "Crowd", "Done"]

_READ_BYTES: Final = 262_144
_PONG: Final = 0x8A
_PING: Final = 0x89
_CLOSE: Final = 0x88
_AT: Final = b'"at":'
_RETRY_AFTER: Final = re.compile(rb"(?i)\r\nretry-after: *([0-9.]+)")
_ANSWER_S: Final = 300.0


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    seconds: float
    #: Of the crowd's own process: near the seconds, the figures are its own.
    cpu_s: float
    frames: int = 0
    #: Of them, changes in a room.
    diffs: int = 0
    frame_bytes: int = 0
    #: How late the last change was sent, in nanoseconds.
    late: int = 0
    opened: int = 0
    failed: int = 0
    #: How many were closed with which code.
    codes: dict[int, int] = {}
    #: Nanoseconds, each as a signed 64-bit integer.
    times: bytes = b""


class _Peer:
    """One client."""

    __slots__ = (
        "asked",
        "attempts",
        "buffer",
        "index",
        "port",
        "session",
        "since",
        "socket",
        "told_s",
        "up",
    )

    def __init__(self, index: int, port: int, made: socket.socket) -> None:
        self.index = index
        self.port = port
        self.socket = made
        self.buffer = b""
        self.up = False
        self.asked = time.monotonic_ns()
        self.session: SessionId | None = None
        #: Since when it is in its room.
        self.since: WallMs | None = None
        #: When it was told to come again.
        self.told_s = 0.0
        #: How often it has come back.
        self.attempts = 0


class Crowd:
    """The clients, and the orders that they take; `Clients` gives them from another process."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._peers: dict[int, _Peer] = {}
        self._order: list[_Peer] = []
        self._times = array("q")
        self._frames = self._frame_bytes = self._opened = self._failed = 0
        self._greeted = False
        self._ready = b""
        self._says: Callable[[_Peer], bytes] = lambda _peer: b""
        self._away: list[tuple[float, int, int, SessionId | None]] = []
        #: Whether whoever is lost comes back, and where.
        self._return: tuple[int, float] | None = None

    # --- orders ---------------------------------------------------------------------------------

    def open(  # noqa: PLR0913  # whom, where, and what they do there
        self,
        *,
        ports: list[int],
        count: int,
        hello: bool = True,
        room_size: int = 0,
        topic: str = "",
        joins: bool = True,
        watches: bool = True,
        at_once: int = 400,
        prefix: str = "user",
        within_s: float = 120.0,
    ) -> None:
        """Connect so many; each is open once it is welcomed, and in sync with its room if any."""
        first = len(self._order)
        self._greeted = hello
        waits = bool(topic or room_size) and watches

        def says(peer: _Peer) -> bytes:
            if not hello:
                return b""
            room = topic or (f"room:bench-{peer.index // room_size}" if room_size else "")
            hi = Hello(
                token=f"dev:{prefix}-{peer.index}", session=peer.session, resume=peer.attempts
            )
            data = _frame(hi)
            if room and joins:
                meta: dict[str, object] = {"mood": "measured", "at": 0}
                data += _frame(Set(id=1, topic=room, meta=meta, since=peer.since))
            if room and watches:
                data += _frame(Sub(topics=[room]))
            return data

        self._says = says
        self._ready = b'{"type":"snap"' if waits else b'{"type":"welcome"'
        deadline = time.monotonic() + within_s
        started = 0
        # Whoever is told to come again later does.
        self._return = (ports[0], 1.0)
        while self._opened < count and time.monotonic() < deadline:
            while started < count and started - self._opened < at_once:
                self._connect(first + started, ports[started % len(ports)])
                started += 1
            self._return_due()
            self._pump(0.02)
        self._return = None

    def gather(self, *, frames: int, within_s: float = 30.0) -> None:
        """Wait until so many frames have come in since the order before this one."""
        deadline = time.monotonic() + within_s
        while self._frames < frames and time.monotonic() < deadline:
            self._pump(0.05)

    def change(
        self,
        *,
        topic: str,
        authors: int = 1,
        frames: int,
        filler: int = 0,
        within_s: float = 30.0,
    ) -> None:
        """The first so many change something in the room, at the same time; wait for the frames."""
        meta: dict[str, object] = {"at": time.monotonic_ns()}
        if filler:
            meta["filler"] = "x" * filler
        for peer in self._order[:authors]:
            self._send(peer, _frame(Patch(topic=topic, meta=meta)))
        self.gather(frames=frames, within_s=within_s)

    def beat(self, *, rounds: int, answered: bool) -> None:
        """Every client sends so many heartbeats, in rounds; the answers of a round are awaited."""
        ping = client_frame(b'{"type":"ping","t":1}')
        for number in range(rounds):
            for index, peer in enumerate(self._order):
                self._send(peer, ping)
                if index % 256 == 0:
                    self._pump(0.0)
            if answered:
                self.gather(frames=(number + 1) * len(self._order))

    def ask(self, *, seconds: float, rate: float) -> None:
        """One client after the other asks for a pong at this rate; how long each took."""
        start = time.monotonic_ns()
        for number in range(round(seconds * rate)):
            due = start + round(number * 1e9 / rate)
            while (left := due - time.monotonic_ns()) > 0:
                self._pump(left / 1e9)
            peer = self._order[number % len(self._order)]
            self._send(peer, client_frame(b'{"type":"ping","t":%d}' % due))
        self._pump(0.5)

    def stir(self, *, seconds: float, rate: float, room_size: int) -> None:
        """One client after the other changes something in his room, at this rate."""
        due = start = time.monotonic_ns()
        for number in range(round(seconds * rate)):
            due = start + round(number * 1e9 / rate)
            while (left := due - time.monotonic_ns()) > 0:
                self._pump(left / 1e9)
            # The next one is in another room, so that nothing is told together that need not be.
            turn, place = divmod(number * room_size, len(self._order))
            peer = self._order[place + turn % room_size]
            topic = f"room:bench-{peer.index // room_size}"
            self._send(peer, _frame(Patch(topic=topic, meta={"at": due})))
        self._late = time.monotonic_ns() - due
        self.listen(seconds=1.0)

    def listen(self, *, seconds: float) -> None:
        """Only hear what comes in."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._pump(min(left, 0.05))

    def hear_on(self, *, seconds: float) -> None:
        """As `listen`, but what came in since the order before this one counts, too."""
        self.listen(seconds=seconds)

    def come_back(self, *, port: int, jitter_s: float, count: int, within_s: float) -> None:
        """Whoever has lost his connection resumes at that port; wait until so many are back."""
        self._opened = 0
        self._return = (port, jitter_s)
        self._ready = b'{"type":"welcome"'
        for peer in [peer for peer in self._order if peer.socket.fileno() < 0]:
            self._leave(peer)
        deadline = time.monotonic() + within_s
        while self._opened < count and time.monotonic() < deadline:
            self._return_due()
            self._pump(0.02)
        self._return = None

    def cut(self) -> None:
        """All cut their connections, without a word."""
        for peer in self._order:
            self._drop(peer)

    def stop_reading(self, *, index: int) -> None:
        """This client reads no more."""
        self._poll.unregister(self._order[index].socket)

    def close(self) -> None:
        """All go, and are forgotten."""
        self.cut()
        self._order.clear()

    # --- carrying them out ----------------------------------------------------------------------

    def obey(self, order: str, arguments: dict[str, Any]) -> Done:
        """One order, to its end."""
        if order not in ("gather", "hear_on"):
            # What was sent before may have come in between two orders.
            self._times = array("q")
            self._frames = self._frame_bytes = self._opened = self._failed = 0
            self._codes: dict[int, int] = {}
            self._diffs = self._late = 0
        started, cpu = time.monotonic(), time.process_time()
        getattr(self, order)(**arguments)
        return Done(
            seconds=time.monotonic() - started,
            cpu_s=time.process_time() - cpu,
            frames=self._frames,
            diffs=self._diffs,
            frame_bytes=self._frame_bytes,
            late=self._late,
            opened=self._opened,
            failed=self._failed,
            codes=dict(self._codes),
            times=self._times.tobytes(),
        )

    def idle(self) -> None:
        """Nothing is asked: pings are answered all the same."""
        self._pump(0.02)

    def _connect(self, index: int, port: int, session: SessionId | None = None) -> _Peer:
        made = socket.socket()
        made.settimeout(0)
        peer = _Peer(index, port, made)
        peer.session = session
        self._peers[made.fileno()] = peer
        if index < len(self._order):
            peer.attempts = self._order[index].attempts + 1
            peer.since = self._order[index].since
            self._order[index] = peer
        else:
            self._order.append(peer)
        found = made.connect_ex(("127.0.0.1", port))
        if found not in (0, errno.EINPROGRESS):
            self._drop(peer)
            self._failed += 1
            return peer
        self._poll.register(made, select.EPOLLOUT)
        return peer

    def _pump(self, wait_s: float) -> None:
        for number, events in self._poll.poll(wait_s, 4_096):
            peer = self._peers.get(number)
            if peer is None:
                continue
            if events & select.EPOLLOUT and not peer.up:
                self._poll.modify(number, select.EPOLLIN)
                self._send(peer, _request(peer.port))
            elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(peer)

    def _read(self, peer: _Peer) -> None:
        try:
            data = peer.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._lost(peer)
            return
        if peer.buffer:
            data = peer.buffer + data
        if not peer.up:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                peer.buffer = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                found = _RETRY_AFTER.search(head)
                self._lost(peer, told_s=float(found[1]) if found else 0.0)
                return
            peer.up = True
            if self._greeted:
                self._send(peer, self._says(peer))
            else:
                self._open(peer)
        peer.buffer = self._frames_of(peer, data) if data else b""

    def _frames_of(self, peer: _Peer, data: bytes) -> bytes:
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126 and size >= start + 2:
                length = data[start] << 8 | data[start + 1]
                start += 2
            elif length == 127 and size >= start + 8:
                (length,) = struct.unpack_from("!Q", data, start)
                start += 8
            elif length > 125:
                break
            if size < start + length:
                break
            at = start + length
            if data[start - (2 if length < 126 else 4 if length < 65_536 else 10)] & 0x8 == 0:
                self._take(peer, data[start:at])
            elif data[start - 2] == _PING:
                self._send(peer, client_frame(data[start:at], first=_PONG))
            elif data[start - 2] == _CLOSE:
                code = int.from_bytes(data[start : start + 2], "big")
                self._codes[code] = self._codes.get(code, 0) + 1
                self._send(peer, client_frame(data[start : start + 2], first=_CLOSE))
        return data[at:]

    def _take(self, peer: _Peer, payload: bytes) -> None:
        self._frames += 1
        self._frame_bytes += len(payload)
        if payload.startswith(b'{"type":"diff"'):
            self._diffs += 1
            self._note(payload, _AT)
        elif payload.startswith(b'{"type":"pong"'):
            self._note(payload, b'"t":')
        elif payload.startswith(b'{"type":"ok"') and peer.since is None:
            # Said again after a return, it is no change.
            peer.since = msgspec.json.decode(payload).get("since")
        elif payload.startswith(b'{"type":"err"'):
            peer.told_s = msgspec.json.decode(payload).get("retry_after_ms", 0) / 1_000
        elif payload.startswith(b'{"type":"welcome"'):
            peer.session = msgspec.json.decode(payload)["session"]
            if self._ready.startswith(b'{"type":"welcome"'):
                self._open(peer)
        elif payload.startswith(b'{"type":"snap"') and self._ready.startswith(b'{"type":"snap"'):
            self._open(peer)

    def _note(self, payload: bytes, mark: bytes) -> None:
        """How long ago each stamp in it is."""
        now = time.monotonic_ns()
        start = payload.find(mark)
        while start >= 0:
            start += len(mark)
            end = start
            while payload[end : end + 1].isdigit():
                end += 1
            stamp = int(payload[start:end] or b"0")
            if stamp > 1:
                self._times.append(now - stamp)
            start = payload.find(mark, end)

    def _open(self, peer: _Peer) -> None:
        if peer.asked:
            self._opened += 1
            if self._ready != b"":
                self._times.append(time.monotonic_ns() - peer.asked)
            peer.asked = 0

    def _send(self, peer: _Peer, data: bytes) -> None:
        try:
            peer.socket.sendall(data)
        except OSError:
            self._lost(peer)

    def _lost(self, peer: _Peer, *, told_s: float = 0.0) -> None:
        if peer.asked:
            self._failed += 1
        self._drop(peer)
        if self._return is not None:
            self._leave(peer, told_s=told_s or peer.told_s)

    def _drop(self, peer: _Peer) -> None:
        if peer.socket.fileno() >= 0:
            self._peers.pop(peer.socket.fileno(), None)
            peer.socket.close()

    def _leave(self, peer: _Peer, *, told_s: float = 0.0) -> None:
        """It comes back when it was told to; else with full jitter, as our clients have it."""
        assert self._return is not None
        port, jitter_s = self._return
        wait_s = told_s or random.random() * jitter_s
        due = time.monotonic() + wait_s
        self._away.append((due, peer.index, port, peer.session))

    def _return_due(self) -> None:
        now = time.monotonic()
        due = [one for one in self._away if one[0] <= now]
        self._away = [one for one in self._away if one[0] > now]
        for _, index, port, session in due:
            self._connect(index, port, session)


def _frame(message: Hello | Set | Sub | Patch) -> bytes:
    return client_frame(encode_client(message).encode())


def _request(port: int) -> bytes:
    """As a browser asks, with as many headers."""
    return (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        f"Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: a browser, 1.0 (load)\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n"
        f"Accept-Language: en-GB,en;q=0.9\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def _serve(pipe: Connection) -> None:
    """The crowd's process: obey until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    crowd = Crowd()
    while True:
        try:
            if not pipe.poll(0):
                crowd.idle()
                continue
            order, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send(crowd.obey(order, arguments))
        except Exception as error:  # noqa: BLE001  # told to the other process
            pipe.send(error)


class Clients:
    """The crowd's process, as whoever measures holds it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def start(self, order: str, **arguments: Any) -> None:  # noqa: ANN401  # of any order
        """Have an order begun; `finish` is when it is done."""
        self._pipe.send((order, arguments))

    def finish(self) -> Done:
        """What became of it.

        Raises:
            RuntimeError: It failed, or nothing came back.
        """
        if not self._pipe.poll(_ANSWER_S):
            raise RuntimeError("the crowd did not answer")
        done: Done | Exception = self._pipe.recv()
        if isinstance(done, Done):
            return done
        raise RuntimeError(f"the crowd failed: {done!r}") from done

    def __call__(self, order: str, **arguments: Any) -> Done:  # noqa: ANN401  # of any order
        """Have an order carried out; see `Crowd`."""
        self.start(order, **arguments)
        return self.finish()

    def close(self) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
