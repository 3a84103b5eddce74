"""A headless Chromium that tests drive: load a page, press keys, ask the page, take its picture.

It speaks the DevTools protocol over the web socket of tornado, which distributed brings: no driver to install.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

_WAIT_S = 60.0
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
    "--remote-debugging-port=0",
)
_KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}


class Browser:
    """One tab of a browser."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self.complaints: list[str] = []
        """What its console said, errors of scripts, and requests that failed or left the machine."""
        self._loop = loop
        self._socket = socket
        self._number = 0
        self._events: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result."""
        self._number += 1
        request = {"id": self._number, "method": method, "params": params}
        self._loop.run_until_complete(self._send(json.dumps(request)))
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return dict(message["result"])

    def open(self, url: str) -> None:
        """Load a page and wait until it is complete."""
        self._events.clear()
        self.call("Page.navigate", url=url)
        self._wait_for_page()

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key and let it go."""
        common = {"key": key, "windowsVirtualKeyCode": _KEYS[key], "modifiers": 8 if shift else 0}
        text = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def follow(self, key: str) -> None:
        """Press a key that leads to another page, and wait until that is complete."""
        self._events.clear()
        self.press(key)
        self._wait_for_page()

    def look(self, width: int = 1280, height: int = 900, *, scheme: str = "light", media: str = "screen") -> None:
        """Show pages so wide, in a colour scheme, as on a screen or in print."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path: Path) -> None:
        """Write a picture of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(found["data"]))

    def _wait_for_page(self) -> None:
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def _receive(self) -> dict[str, Any]:
        """Return the next message; remember what it complains of."""
        text = self._loop.run_until_complete(self._read())
        assert text is not None, "the browser went away"
        message: dict[str, Any] = json.loads(text)
        method, params = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed"):
            self.complaints.append(f"{method}: {json.dumps(params)}")
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(("file:", "data:")):
            self.complaints.append(f"{method}: {params['request']['url']}")
        return message

    async def _send(self, text: str) -> None:
        await self._socket.write_message(text)

    async def _read(self) -> str | bytes | None:
        return await asyncio.wait_for(self._socket.read_message(), _WAIT_S)


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start a browser whose profile lies in a folder; skips the test where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser: install chromium")
    process = subprocess.Popen(
        [chromium, *_OPTIONS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    loop = asyncio.new_event_loop()
    try:
        socket = loop.run_until_complete(_connect(folder / "DevToolsActivePort"))
        yield Browser(loop, socket)
        loop.run_until_complete(_close(socket))
    finally:
        process.terminate()
        process.wait(timeout=_WAIT_S)
        loop.run_until_complete(asyncio.sleep(0))  # tornado ends its reader
        loop.close()


async def _close(socket: WebSocketClientConnection) -> None:
    """Close the connection; outside of a running loop, tornado would make one that nobody closes."""
    socket.close()


async def _connect(port_file: Path) -> WebSocketClientConnection:
    """Wait for the browser and connect to its one tab."""
    from tornado.httpclient import AsyncHTTPClient

    latest = time.monotonic() + _WAIT_S
    while not (port_file.exists() and len(port_file.read_text().split()) == 2):
        assert time.monotonic() < latest, "the browser did not start"
        await asyncio.sleep(0.05)
    port = port_file.read_text().split()[0]
    found = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/json/list")
    (tab,) = (one for one in json.loads(found.body) if one["type"] == "page")
    return await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=2**28)
