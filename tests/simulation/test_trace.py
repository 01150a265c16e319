"""The trace: equal runs have equal hashes, and no others that anybody will meet."""

from __future__ import annotations

from presence_actors.sim.trace import Trace

Note = tuple[int, str, bytes | str | int]


def hash_of(*notes: Note, looked_every: int = 1_000_000) -> str:
    """The trace of these notes, asked for now and then on the way."""
    trace = Trace()
    for number, note in enumerate(notes, start=1):
        trace.note(*note)
        if number % looked_every == 0:
            trace.hexdigest()
    return trace.hexdigest()


def test_a_trace_tells_when_what_reached_whom() -> None:
    """Another time, another receiver, another frame, another order: another run."""
    first, second = (1, "a/g0", b"frame"), (2, "alice", "text")
    others = [
        hash_of(first),
        hash_of(second, first),
        hash_of(first, (3, "alice", "text")),
        hash_of(first, (2, "bob", "text")),
        hash_of(first, (2, "alice", "texts")),
        hash_of(first, (2, "alice", 4)),
    ]
    assert hash_of(first, second) not in others
    assert len(set(others)) == len(others)


def test_looking_at_a_trace_changes_nothing() -> None:
    """However long it is: notes gather before they are hashed."""
    notes: list[Note] = [(at_ms, "a/w0", at_ms % 7) for at_ms in range(2_000)]
    assert hash_of(*notes) == hash_of(*notes, looked_every=3) == hash_of(*notes, looked_every=256)
