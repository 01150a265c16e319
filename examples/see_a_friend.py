"""A friend comes online: you will see `bob is offline`, then `bob is online on mobile`."""

import asyncio
import sys

from presence_actors import connect


async def main(url: str) -> None:
    """Alice watches bob, and bob's phone connects."""
    async with connect(url, "dev:alice") as alice:
        watch = await alice.watch(["bob"])
        print("bob is", watch.statuses["bob"].status)
        async with connect(url, "dev:bob", device="mobile"):
            bob = await anext(watch.stream)
            print("bob is", bob.status, "on", ", ".join(bob.devices))


asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:4000"]))
