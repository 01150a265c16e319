"""Whose turn it is: at once as long as nobody waits, and then so many in a turn of the loop."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from presence_actors.edge.turnstile import Turnstile

Story = Callable[[Turnstile, list[int]], Awaitable[None]]


def play(story: Story) -> None:
    """With two in a turn."""

    async def run() -> None:
        await story(Turnstile(2), [])

    asyncio.run(run())


def come(turnstile: Turnstile, gone: list[int], *numbers: int) -> None:
    """These come, in this order."""
    for number in numbers:
        turnstile.add(partial(gone.append, number))


def test_few_go_through_at_once() -> None:
    """In each turn anew: who comes alone never waits."""

    async def story(turnstile: Turnstile, gone: list[int]) -> None:
        for turn in range(5):
            come(turnstile, gone, turn)
            assert gone == list(range(turn + 1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(turnstile) == 0

    play(story)


def test_many_go_through_in_order_two_in_a_turn() -> None:
    """Others of the loop come between, and nobody overtakes."""

    async def story(turnstile: Turnstile, gone: list[int]) -> None:
        come(turnstile, gone, *range(7))
        seen = [len(gone)]
        while turnstile:
            await asyncio.sleep(0)
            seen.append(len(gone))
            if len(gone) == 4:
                come(turnstile, gone, 7)
        assert seen == [2, 4, 6, 8]
        assert gone == list(range(8))

    play(story)


def test_what_comes_of_one_goes_behind_those_who_wait() -> None:
    """Though it comes in their turn, in which there is still room."""

    async def story(turnstile: Turnstile, gone: list[int]) -> None:
        come(turnstile, gone, 0, 1)
        turnstile.add(lambda: come(turnstile, gone, 4))
        come(turnstile, gone, 2, 3)
        for _ in range(5):
            await asyncio.sleep(0)
        assert gone == [0, 1, 2, 3, 4]

    play(story)


def test_one_that_fails_does_not_stop_those_behind_it() -> None:
    """Its failure is the loop's to tell."""

    async def story(turnstile: Turnstile, gone: list[int]) -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _loop, context: told.append(context["exception"])
        )
        failure = ValueError("broken")

        def fail() -> None:
            raise failure

        come(turnstile, gone, 0, 1)
        turnstile.add(fail)
        come(turnstile, gone, 2, 3, 4)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (gone, told, len(turnstile)) == ([0, 1, 2, 3, 4], [failure], 0)

    play(story)
