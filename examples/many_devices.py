"""One user, three devices, one status.

You will see the status that others see of dana while her laptop, phone and watch come online, two
of them show other things, her choice hides what they show, and all of them go.

    presence up
    python examples/many_devices.py [ws://127.0.0.1:4000]
"""

import asyncio
import sys
from contextlib import AsyncExitStack

from presence_actors import UserStatus, Watch, connect


async def shown(watch: Watch, status: str, devices: int) -> None:
    """Print what dana shows once it is this."""
    while True:
        dana = watch.statuses["dana"]
        if dana.status == status and len(dana.devices) == devices:
            print(f"dana is {dana.status:8} on {', '.join(dana.devices) or 'nothing'} {dana.text}")
            return
        await anext(watch.stream)


async def main(url: str) -> None:
    """Dana's friend watches, while dana uses three devices."""
    async with connect(url, "dev:friend") as friend:
        watch = await friend.watch(["dana"])
        await shown(watch, UserStatus.OFFLINE, devices=0)
        async with AsyncExitStack() as devices:
            laptop, phone, _ = [
                await devices.enter_async_context(connect(url, "dev:dana", device=device))
                for device in ("desktop", "mobile", "watch")
            ]
            await shown(watch, UserStatus.ONLINE, devices=3)
            await laptop.set_status("away")
            await phone.set_status("dnd")
            await shown(watch, UserStatus.DND, devices=3)
            # A choice counts for all devices, whatever each of them shows.
            await phone.set_intent("away", text="out for lunch")
            await shown(watch, UserStatus.AWAY, devices=3)
            await phone.set_intent("")
            await shown(watch, UserStatus.DND, devices=3)
        await shown(watch, UserStatus.OFFLINE, devices=0)


asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:4000"]))
