"""A real Chromium, driven through chromedriver's own protocol, for the tests of the page."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
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
)


def missing() -> str:
    """Why no browser can be driven here; empty when one can."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


class Browser:
    """One window of a new profile; a phone has a touch screen and two pixels a point."""

    def __init__(self, profile: Path, width: int, height: int, *, phone: bool = False):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._address = f"http://127.0.0.1:{port}"
        self._session = ""
        try:
            self._wait()
            self._start(profile, width, height, phone)
        except BaseException:
            self._driver.terminate()
            raise

    def _wait(self):
        for _ in range(100):
            try:
                return self._call("GET", "/status")
            except OSError:
                time.sleep(0.1)
        raise TimeoutError("chromedriver does not answer")

    def _start(self, profile, width, height, phone):
        size = [f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        options = {"args": [*FLAGS, *size]}
        if phone:
            metrics = {"width": width, "height": height, "pixelRatio": 2, "touch": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def _call(self, method, path, body=None):
        request = urllib.request.Request(
            self._address + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["value"]

    def open(self, page: Path):
        self._call("POST", self._session + "/url", {"url": page.as_uri()})

    def run(self, script: str):
        """The value of a function body of JavaScript."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": []})

    def console(self) -> list[dict]:
        """What the page and the browser complained about."""
        return self._call("POST", self._session + "/se/log", {"type": "browser"})

    def disable_scripts(self):
        command = {"cmd": "Emulation.setScriptExecutionDisabled", "params": {"value": True}}
        self._call("POST", self._session + "/goog/cdp/execute", command)

    def text(self) -> str:
        """The page's text as chromedriver reads it, which needs no script of the page."""
        body = {"using": "css selector", "value": "body"}
        (found,) = self._call("POST", self._session + "/element", body).values()
        return self._call("GET", f"{self._session}/element/{found}/text")

    def close(self):
        try:
            self._call("DELETE", self._session)
        finally:
            self._driver.terminate()
            self._driver.wait()
