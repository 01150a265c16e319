"""Two people see each other come, change and go.

You will see, from alice's side: bob coming into the lobby on his phone, growing busy, and leaving.

    presence up
    python examples/hello_presence.py [ws://127.0.0.1:4000]
"""

import asyncio
import sys

from presence_actors import Join, Leave, Update, connect


async def bob_visits(url: str) -> None:
    """Bob comes in, changes his mood, and leaves."""
    async with connect(url, "dev:bob", device="mobile") as bob:
        room = await bob.join("hello", meta={"mood": "curious"})
        print("bob sees here:", ", ".join(room.who()))
        # Time for a look around: a visit shorter than a moment would show as nothing at all.
        await asyncio.sleep(0.2)
        await room.update(mood="busy")
        await asyncio.sleep(0.2)


async def main(url: str) -> None:
    """Alice waits in the lobby and prints what she sees."""
    async with connect(url, "dev:alice") as alice:
        room = await alice.join("hello")
        visit = asyncio.create_task(bob_visits(url))
        async for event in room:
            match event:
                case Join(entry=entry):
                    print(f"+ {entry.key} on {entry.device}, {entry.meta['mood']}")
                case Update(entry=entry):
                    print(f"~ {entry.key} is {entry.meta['mood']}")
                case Leave(entry=entry, reason=reason):
                    print(f"- {entry.key} ({reason})")
                    break
        await visit


asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:4000"]))
