"""A real Chromium, driven through its own DevTools pipe, for the tests of the page."""

import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
READS, WRITES = 3, 4  # the descriptors on which Chromium takes commands and answers
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
SECONDS = 60


def missing() -> str:
    """Why no browser can be driven here; empty when one can."""
    return "" if shutil.which("chromium") else "chromium is not installed"


class Browser:
    """One page of a new profile; a phone has a touch screen and two pixels a point."""

    def __init__(self, profile: Path, width: int, height: int, *, phone: bool = False):
        self._number, self._rest, self._events, self._session = 0, b"", [], {}
        self._start(profile)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
            self._session = {"sessionId": attached["sessionId"]}
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
            size = {"width": width, "height": height, "deviceScaleFactor": 1 + phone}
            self.call("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
            self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        except BaseException:
            self.close()
            raise

    def _start(self, profile):
        commands, self._commands = _pipe()
        self._answers, answers = _pipe()

        def connect():
            os.dup2(commands, READS)
            os.dup2(answers, WRITES)

        self._process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,  # all others close by themselves
            preexec_fn=connect,
        )
        os.close(commands)
        os.close(answers)

    def call(self, method: str, **params):
        """The result of a DevTools command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda event: event.get("id") == self._number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _wait(self, wanted):
        """The next message that is wanted; all others are kept as events."""
        while True:
            while b"\0" not in self._rest:
                ready, _, _ = select.select([self._answers], [], [], SECONDS)
                data = os.read(self._answers, 1 << 16) if ready else b""
                if not data:
                    raise TimeoutError("chromium does not answer")
                self._rest += data
            message, _, self._rest = self._rest.partition(b"\0")
            event = json.loads(message)
            if wanted(event):
                return event
            self._events.append(event)

    def open(self, page: Path):
        """Load a page to its end."""
        self._events.clear()
        self.call("Page.navigate", url=page.as_uri())
        if not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._wait(lambda event: event.get("method") == "Page.loadEventFired")

    def run(self, script: str):
        """The value of a function body of JavaScript."""
        body = {"expression": f"(() => {{ {script} }})()", "returnByValue": True}
        answer = self.call("Runtime.evaluate", **body)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def console(self) -> list[dict]:
        """What the page and the browser complained about since the page was opened."""
        self.run("return null")
        return [event["params"] for event in self._events if event.get("method") in COMPLAINTS]

    def disable_scripts(self):
        """Read pages from now on as a browser without scripts does."""
        self.call("Emulation.setScriptExecutionDisabled", value=True)

    def text(self) -> str:
        """The text that is laid out, which needs no script of the page."""
        snapshot = self.call("DOMSnapshot.captureSnapshot", computedStyles=[])
        strings = snapshot["strings"]
        return "\n".join(strings[i] for i in snapshot["documents"][0]["layout"]["text"] if i >= 0)

    def close(self):
        """End the browser."""
        try:
            self._session = {}
            self.call("Browser.close")
            self._process.wait(SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._commands)
            os.close(self._answers)


def _pipe() -> tuple[int, int]:
    """The reading and the writing end, at numbers that collide with none of Chromium's."""
    low = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low]
    for end in low:
        os.close(end)
    return high[0], high[1]
