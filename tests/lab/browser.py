"""A real browser, Debian's Chromium, driven by its DevTools protocol over two pipes."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.required import cannot_run

PROGRAM = "chromium"

#: More than a page here takes, also on a busy machine.
_SECONDS = 30


class Browser:
    """One page of a browser without a window.

    :param directory: where its profile and what it says are kept.
    :param login: the user and the password that it gives where it is asked for them.
    """

    def __init__(self, directory: Path, login: tuple[str, str] | None = None) -> None:
        self._login = login
        self._number = 0
        self._received = b""
        self._session = ""
        self.requests: list[str] = []
        to_browser, self._sink = os.pipe()
        self._source, from_browser = os.pipe()
        directory.mkdir(parents=True, exist_ok=True)
        command = [PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        command += ["--disable-dev-shm-usage", "--no-first-run", f"--user-data-dir={directory / 'profile'}"]
        with (directory / "stderr").open("wb") as said:
            # The browser reads descriptor 3 and writes descriptor 4.
            self._process = subprocess.Popen(
                [
                    "bash",
                    "-c",
                    f'exec "$@" 3<&{to_browser} 4>&{from_browser}',
                    "bash",
                    *command,
                    "about:blank",
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                pass_fds=(to_browser, from_browser),
                env={**os.environ, "HOME": str(directory)},
            )
        os.close(to_browser)
        os.close(from_browser)
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._ask("Page.enable")
        self._ask("Network.enable")
        if login is not None:
            self._ask("Fetch.enable", handleAuthRequests=True)

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask("Page.navigate", url=url)

    def be(self, width: int, *, mobile: bool) -> None:
        """Have a screen of this width, that of a telephone or of a desk."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def picture(self) -> bytes:
        """Return what the whole page looks like, as a PNG."""
        taken = self._ask("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(taken["data"])

    def run(self, script: str) -> Any:
        """Return what an expression of JavaScript is, a promise's result included."""
        answer = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Return what an expression is as soon as it is something."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{script} is not so; the page has: {self.run('document.body.innerText')}")

    def click(self, element: str) -> None:
        """Click on an element, an expression of JavaScript, as a mouse does, when it is there."""
        place = self.wait_for(
            f"(() => {{ const e = {element}; if (!e) return null; e.scrollIntoView();"
            "const r = e.getBoundingClientRect();"
            "return r.width ? [r.x + r.width / 2, r.y + r.height / 2] : null })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask(
                "Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1
            )

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._sink)
        os.close(self._source)

    def _send(self, method: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._sink, json.dumps(message).encode() + b"\0")
        return self._number

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = self._send(method, parameters)
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        given = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(f"{given['request']['method']} {given['request']['url']}")
        elif event.get("method") == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", {"requestId": given["requestId"]})
        elif event.get("method") == "Fetch.authRequired":
            user, password = self._login or ("", "")
            answer = {"response": "ProvideCredentials", "username": user, "password": password}
            self._send(
                "Fetch.continueWithAuth", {"requestId": given["requestId"], "authChallengeResponse": answer}
            )

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            more = os.read(self._source, 1 << 16)
            assert more, "the browser has ended"
            self._received += more
        message, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found


@contextlib.contextmanager
def browsing(directory: Path, login: tuple[str, str] | None = None) -> Iterator[Browser]:
    """Run a browser until the block is left; skip the test where there is none."""
    if shutil.which(PROGRAM) is None:
        cannot_run(f"{PROGRAM}: not installed; Debian has it in the package of that name")
    browser = Browser(directory, login)
    try:
        yield browser
    finally:
        browser.close()
