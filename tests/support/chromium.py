"""A headless Chromium for tests, driven over its DevTools protocol.

No browser driver is needed: Chromium itself speaks JSON over a WebSocket.
"""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--autoplay-policy=no-user-gesture-required",
    "--hide-scrollbars",
    "--mute-audio",
    # Headless, Chromium takes itself for a machine without a mouse.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,"
    "primaryPointerType=4,availablePointerTypes=4",
    "--remote-debugging-port=0",
)


def executable() -> str | None:
    """Path of the Chromium on the PATH, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


needs_chromium = pytest.mark.skipif(
    executable() is None, reason=f"no Chromium on the PATH (looked for {', '.join(NAMES)})"
)


class Page:
    """One tab: what it logged and asked for is kept from before its first navigation on."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one DevTools command and return its result."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(timeout=30))
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", str(details)))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(str([argument.get("value") for argument in params["args"]]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.javascriptDialogOpening":
                self.errors.append(f"dialog: {params['message']}")

    def view(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the size of the viewport in CSS pixels; a phone has touch and no hover."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=phone,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def media(self, **features: str) -> None:
        """Set media features, e.g. `prefers_color_scheme="dark"`."""
        pairs = [{"name": n.replace("_", "-"), "value": v} for n, v in features.items()]
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def open(self, url: str) -> None:
        """Open a page and wait until it and its scripts have loaded."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def eval(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, awaited; an exception fails the test."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait(self, expression: str, *, seconds: float = 20) -> Any:
        """Wait until a JavaScript expression is true (an element is); return its value."""
        probe = f"(value => value instanceof Node || value)({expression})"
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := self.eval(probe):
                return value
            time.sleep(0.05)
        raise AssertionError(f"not true within {seconds} s: {expression}")

    def middle(self, selector: str) -> tuple[float, float]:
        """Scroll an element into view and return its middle in the viewport."""
        self.eval(
            f"document.querySelector({json.dumps(selector)})"
            ".scrollIntoView({block: 'center', behavior: 'instant'})"
        )
        box = self.eval(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        return box[0], box[1]

    def hover(self, selector: str) -> None:
        """Move the mouse onto an element."""
        x, y = self.middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click an element with the mouse."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, selector: str) -> None:
        """Tap an element with a finger."""
        x, y = self.middle(selector)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str, code: int) -> None:
        """Press a key by its DOM name and Windows key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )

    def choose(self, selector: str, value: str) -> None:
        """Set a form field as a reader would: value and input event."""
        self.eval(
            f"(field => {{ field.value = {json.dumps(value)};"
            " field.dispatchEvent(new Event('input', {bubbles: true})); })"
            f"(document.querySelector({json.dumps(selector)}))"
        )

    def screenshot(self, path: Path) -> None:
        """Write what the viewport shows as PNG."""
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))


class Browser:
    """A running Chromium; each `page` is a fresh tab."""

    def __init__(self, port: int) -> None:
        self._port = port

    @contextmanager
    def page(self) -> Iterator[Page]:
        """Open a tab for the time of a `with` block."""
        base = f"http://127.0.0.1:{self._port}/json"
        with urlopen(Request(f"{base}/new?about:blank", method="PUT"), timeout=20) as answer:
            target = json.load(answer)
        with connect(target["webSocketDebuggerUrl"], max_size=None, open_timeout=20) as connection:
            yield Page(connection)
        with urlopen(f"{base}/close/{target['id']}", timeout=20):
            pass


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """Run Chromium with a fresh profile folder for the time of a `with` block."""
    program = executable()
    if program is None:
        raise RuntimeError("no Chromium on the PATH")
    command = [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(profile / "DevToolsActivePort", process)
        yield Browser(port)
        _close(port)
        process.wait(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _close(port: int) -> None:
    """Ask the browser to end, which ends its helper processes too."""
    with urlopen(f"http://127.0.0.1:{port}/json/version", timeout=20) as answer:
        address = json.load(answer)["webSocketDebuggerUrl"]
    try:
        with connect(address, open_timeout=20) as connection:
            connection.send(json.dumps({"id": 1, "method": "Browser.close"}))
            connection.recv(timeout=10)
    except ConnectionClosed:
        pass  # gone before it answered: what was asked for


def _port(file: Path, process: "subprocess.Popen[bytes]") -> int:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()).count("\n"):
            return int(text.splitlines()[0])
        if process.poll() is not None:
            raise RuntimeError(f"Chromium ended with {process.returncode} at its start")
        time.sleep(0.05)
    raise RuntimeError("Chromium did not open its port within 40 s")
