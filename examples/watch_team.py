"""A watch list: what each of a team shows now, and then each change.

You will see: everybody offline at first; then a line for each of the team as they come online, say
what they do, and go offline again.

    presence up
    python examples/watch_team.py [ws://127.0.0.1:4000]
"""

import asyncio
import sys

from presence_actors import UserStatus, connect

TEAM = {"ann": "reviewing", "ben": "in a call", "cho": "deploying"}
HERE = (UserStatus.ONLINE, UserStatus.DND)


async def work(url: str, name: str, activity: str) -> None:
    """Somebody comes online, shows what they do, and goes offline."""
    async with connect(url, f"dev:{name}", device="desktop") as client:
        await asyncio.sleep(0.2)
        await client.set_intent("dnd", text=activity)
        await asyncio.sleep(0.2)
        await client.set_intent("")


async def main(url: str) -> None:
    """The lead watches the team until all have come and gone."""
    async with connect(url, "dev:lead") as lead:
        watch = await lead.watch(TEAM)
        for user, shown in watch.statuses.items():
            print(f"{user:5} {shown.status}")
        working = asyncio.gather(*(work(url, name, activity) for name, activity in TEAM.items()))
        gone: set[str] = set()
        async for status in watch:
            print(f"{status.user:5} {status.status} {status.text}".rstrip())
            if status.status is UserStatus.OFFLINE and status.previous in HERE:
                gone.add(status.user)
            if gone >= TEAM.keys():
                break
        await working


asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:4000"]))
