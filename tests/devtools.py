"""A page in headless Chromium, driven by the protocol of its developer tools."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers let nobody make one
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--remote-allow-origins=*",
    "--remote-debugging-port=0",
    "--window-size=1280,1000",
)


def browser():
    """The path of a Chromium, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def until(ask, seconds=60, every=0.1):
    """Ask until the answer is true, and return it; TimeoutError after some seconds."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        if time.monotonic() > end:
            raise TimeoutError(f"{ask} said {answer!r} for {seconds} s")
        time.sleep(every)
    return answer


@contextlib.contextmanager
def running(command, log, **options):
    """A process with its output in a file, ended at the end."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def opened(folder):
    """An empty page; its browser keeps everything in a folder."""
    profile = folder / "profile"
    command = [browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with running(command, folder / "browser.log"):
        port_file = profile / "DevToolsActivePort"
        port = until(lambda: port_file.exists() and port_file.read_text().splitlines())[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        with contextlib.closing(websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=60)) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Network"):
                page.call(f"{domain}.enable")
            # JupyterLab's commands go to what has the focus.
            page.call("Emulation.setFocusEmulationEnabled", enabled=True)
            yield page


class Page:
    """A page, what it asked the network for, and what went wrong in it."""

    def __init__(self, socket):
        self.socket, self.count = socket, 0
        self.addresses, self.errors = [], []

    def call(self, method, **params):
        """Send a command, and wait for its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            if message["method"] == "Network.requestWillBeSent":
                self.addresses.append(message["params"]["request"]["url"])
            elif message["method"] == "Runtime.exceptionThrown":
                self.errors.append(message["params"]["exceptionDetails"])

    def js(self, expression):
        """The value of an expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def box(self, selector):
        """Left, top, width and height of an element."""
        return self.js(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.x, b.y, b.width, b.height]; })()"
        )

    def click(self, x, y):
        """Move the mouse to a point; a frame later, press and release it.

        Both at once: while a page draws slowly, what comes one after the other is taken for a long press.
        """
        self.js(
            f"""(async () => {{
              const [x, y] = [{x}, {y}], target = document.elementFromPoint(x, y);
              const at = {{clientX: x, clientY: y, bubbles: true, pointerType: 'mouse', pointerId: 1, isPrimary: true}};
              const act = (kind, more) => target.dispatchEvent(new PointerEvent('pointer' + kind, {{...at, ...more}}));
              act('move', {{button: -1, buttons: 0}});
              await new Promise(requestAnimationFrame);
              act('down', {{button: 0, buttons: 1}});
              act('up', {{button: 0, buttons: 0}});
            }})()"""
        )

    def press(self, text):
        """Click the button with this text."""
        self.js(f"[...document.querySelectorAll('button')].find(b => b.innerText === {json.dumps(text)}).click()")

    def picture(self, box=None):
        """A screenshot as a PNG, of all or of a box."""
        clip = (
            {} if box is None else {"clip": dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}}
        )
        return base64.b64decode(self.call("Page.captureScreenshot", **clip)["data"])
