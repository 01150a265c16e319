"""An app server: has a door be here, chooses for a user, and kicks one.

You will see: a door without a socket in a room; alice in class because her school says so; and
alice leaving because she was kicked, with the words for her.

    presence up
    python examples/app_server.py [ws://127.0.0.1:4000]
"""

import asyncio
import json
import sys
import urllib.request

from presence_actors import Join, Leave, SessionLost, connect

HEADERS = {"Authorization": "Bearer dev-server:school", "Content-Type": "application/json"}


async def ask(method: str, url: str, body: object = None) -> dict[str, object]:
    """One request of the app server; what it is answered."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, HEADERS, method=method)  # noqa: S310  # http

    def send() -> dict[str, object]:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # as above
            return dict(json.load(answer))

    return await asyncio.to_thread(send)


async def main(url: str) -> None:
    """What the app server does, and what the others see of it."""
    users = url.replace("ws", "http", 1) + "/v1/users"
    async with connect(url, "dev:watcher") as watcher, connect(url, "dev:alice") as alice:
        room = await watcher.observe("school")
        door = {"rooms": {"school": {"open": True}}, "device": "door", "lease": "1m"}
        await ask("PUT", f"{users}/janitor/presence/door", door)
        await alice.join("school")
        shown = await watcher.watch(["alice"])
        await ask("PUT", f"{users}/alice/intent", {"status": "dnd", "text": "in class"})
        told = await anext(status async for status in shown if status.text)
        print(f"alice is {told.status}: {told.text}")
        await ask("DELETE", f"{users}/alice/intent")
        await ask("DELETE", f"{users}/alice/sessions?reason=go+home")
        async for event in room:
            match event:
                case Join(entry=entry):
                    print(f"+ {entry.key} by {entry.device}")
                case Leave(entry=entry, reason=reason):
                    print(f"- {entry.key} ({reason})")
                    break
        await ask("DELETE", f"{users}/janitor/presence/door")
        try:
            await alice.join("yard")
        except SessionLost as lost:
            print(f"alice hears: {lost.reason}")


asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:4000"]))
