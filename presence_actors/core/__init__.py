"""The core decides; drivers carry out.

A machine has four public methods and no others::

    handle(event, now) -> list of effects      the only way in and the only way out
    deadline() -> Instant | None               when to send it DeadlineReached
    check()                                    raises InvariantBroken if it finds itself wrong
    inspect()                                  a read-only picture for people and metrics

Ten rules:

1. One door in, one door out. State changes only within `handle`.
2. Run to completion: no await, no re-entrance, no lock.
3. Time arrives with the event, as `Now`.
4. Chance is handed in once; no randomness of its own.
5. No order that depends on hashing; sort at the point of choice.
6. Everything has a limit, in `limits`.
7. Effects are data, in order: equal inputs give equal lists.
8. An expected failure is an event, not an exception.
9. A broken invariant of ours raises `InvariantBroken` and ends the actor; it restarts anew.
10. No logging: the host records every event, and the record is the log.
"""
