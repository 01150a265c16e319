"""A headless Chromium, steered by the DevTools protocol over one WebSocket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import shutil
import time
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

__all__ = ["Chromium", "find_chromium"]

_STEP_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
_FLAGS: Final = (
    "--headless=new",
    # As root, which test machines often are, there is no sandbox.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # It shall talk to our pages and to nobody else.
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Of a busy machine, without a screen, too.
    "--force-color-profile=srgb",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_MESSAGE_BYTES: Final = 1 << 26


def find_chromium() -> str | None:
    """The browser of this machine."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """One browser with one page; remembers what the page complains of.

    Args:
        program: Of the browser.
        folder: An empty one for its profile.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._stack = contextlib.AsyncExitStack()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        #: Exceptions and errors of the page.
        self.complaints: list[str] = []

    async def __aenter__(self) -> Self:
        process = await asyncio.create_subprocess_exec(
            self._program,
            *_FLAGS,
            f"--user-data-dir={self._folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        self._stack.push_async_callback(self._end, process)
        try:
            port = await self._port()
            http = await self._stack.enter_async_context(aiohttp.ClientSession())
            async with http.get(f"http://127.0.0.1:{port}/json/list") as response:
                (page,) = [one for one in await response.json() if one["type"] == "page"]
            self._socket = await http.ws_connect(
                page["webSocketDebuggerUrl"], max_msg_size=_MESSAGE_BYTES
            )
            reading = asyncio.create_task(self._read())
            self._stack.callback(reading.cancel)
            for domain in ("Page", "Runtime", "Log"):
                await self.say(f"{domain}.enable")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def say(self, method: str, **params: Any) -> dict[str, Any]:
        """A command, and its result."""
        assert self._socket is not None
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(_STEP_SECONDS):
            told = await answer
        assert "error" not in told, f"{method}: {told}"
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.say("Page.navigate", url=url)

    async def look(self, expression: str) -> Any:
        """What an expression of JavaScript gives on the page."""
        told = await self.say("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, f"{expression}: {told}"
        return told["result"].get("value")

    async def until(self, what: str, expression: str, *, within_s: float = 15.0) -> Any:
        """Wait until an expression gives something, and return that."""
        deadline = time.monotonic() + within_s
        while not (found := await self.look(expression)):
            if time.monotonic() > deadline:
                text = await self.look("document.body.innerText")
                raise AssertionError(f"in vain for {within_s} s: {what}; the page shows:\n{text}")
            await asyncio.sleep(_LOOK_SECONDS)
        return found

    async def show(self, *, width: int, height: int, dark: bool = False) -> None:
        """Have a window of this size, and the colours that its user likes."""
        await self.say(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.say("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """Write what is seen into a PNG file."""
        told = await self.say("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(told["data"]))

    async def _port(self) -> int:
        file = self._folder / "DevToolsActivePort"
        async with asyncio.timeout(_STEP_SECONDS):
            while True:
                with contextlib.suppress(OSError, ValueError):
                    return int(file.read_text().splitlines()[0])
                await asyncio.sleep(_LOOK_SECONDS)

    async def _read(self) -> None:
        assert self._socket is not None
        async for message in self._socket:
            told = message.json()
            match told.get("method"):
                case "Runtime.exceptionThrown":
                    self.complaints.append(str(told["params"]["exceptionDetails"]))
                case "Log.entryAdded" if told["params"]["entry"]["level"] == "error":
                    self.complaints.append(str(told["params"]["entry"]))
            answer = self._answers.pop(told.get("id", 0), None)
            if answer is not None and not answer.done():
                answer.set_result(told)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if self._socket is not None and not self._socket.closed:
            with contextlib.suppress(AssertionError, TimeoutError, ConnectionError):
                # Ends all processes of the browser in order.
                await self.say("Browser.close")
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
