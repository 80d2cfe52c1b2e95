"""A real browser without a screen: Chromium, driven by the WebDriver protocol of the W3C over HTTP."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = None if CHROMIUM and CHROMEDRIVER else "needs a browser: Chromium and chromedriver"
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
FLAGS += "--disable-component-update --disable-sync --window-size=1200,1500"
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id in every answer


class Browser:
    """A browser with an empty profile in `folder`; close it at the end."""

    def __init__(self, folder: Path):
        command = [CHROMEDRIVER, "--port=0"]
        self.driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started = next(line for line in self.driver.stdout if "started successfully on port" in line)
        self.address = f"http://127.0.0.1:{started.rstrip().rstrip('.').split()[-1]}"
        options = {"binary": CHROMIUM, "args": [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"]}
        session = self.ask("POST", "/session", capabilities={"alwaysMatch": {"goog:chromeOptions": options}})
        self.address += f"/session/{session['sessionId']}"

    def ask(self, method: str, path: str, **content: object):
        """Return the value of an answer; an error of the protocol is an `AssertionError` with its message."""
        body = json.dumps(content).encode() if method == "POST" else None
        request = urllib.request.Request(self.address + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, address: str) -> None:
        self.ask("POST", "/url", url=address)

    def wait(self, xpath: str, seconds: float = 60) -> str:
        """Return the id of the first visible element, once there is one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for found in self.ask("POST", "/elements", using="xpath", value=xpath):
                try:
                    if self.ask("GET", f"/element/{found[ELEMENT]}/displayed"):
                        return found[ELEMENT]
                except AssertionError:  # the page drew it anew meanwhile
                    continue
            time.sleep(0.1)
        raise AssertionError(f"nothing on the page is {xpath}:\n{self.text('//body')}")

    def click(self, xpath: str) -> None:
        self.ask("POST", f"/element/{self.wait(xpath)}/click")

    def fill(self, xpath: str, text: str) -> None:
        """Replace the text of a field."""
        field = self.wait(xpath)
        self.ask("POST", f"/element/{field}/clear")
        self.ask("POST", f"/element/{field}/value", text=text)

    def text(self, xpath: str) -> str:
        return self.ask("GET", f"/element/{self.wait(xpath)}/text")

    def script(self, code: str):
        """Return what a script in the page returns."""
        return self.ask("POST", "/execute/sync", script=code, args=[])

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.ask("GET", "/screenshot")))

    def close(self) -> None:
        self.ask("DELETE", "")
        self.driver.terminate()
        self.driver.wait(timeout=60)
        self.driver.stdout.close()
