"""A page opened in a real browser: what it complains of, what it asks for, which rules it breaks."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

from axe_playwright_python.sync_playwright import Axe
from browser import OFFLINE
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    WebSocket,
    sync_playwright,
)

# Playwright's options of a context; sizes in CSS pixels.
DESKTOP: Mapping[str, Any] = {"viewport": {"width": 1280, "height": 900}}
# As on a phone, a page that does not say how wide it is gets 980 pixels.
PHONE: Mapping[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "is_mobile": True,
    "has_touch": True,
}
# The same picture on every machine: WebGL is drawn by the processor, with a graphics card or
# without. Chromium does so for trusted pages alone, which ours are.
FLAGS = (OFFLINE, "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
WITHIN_THE_PAGE = ("data", "blob")
# After two frames, what a script did on loading has been drawn and reported.
TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class ShownPage:
    """A page that is open.

    Attributes:
        page: Playwright's own, to look at and to click in.
    """

    def __init__(self, context: BrowserContext, path: Path, *, scripts: bool = True) -> None:
        """Open a page.

        Args:
            context: The session that it is opened in.
            path: The page.
            scripts: Whether the session runs scripts.
        """
        self.page: Page = context.new_page()
        self._scripts = scripts
        self._address = path.resolve().as_uri()
        self._complaints: list[str] = []
        self._requests: list[str] = []
        context.on("console", self._hear)
        context.on("request", self._see_request)
        self.page.on("pageerror", self._hear_error)
        self.page.on("websocket", self._see_socket)
        self.page.goto(self._address)

    @property
    def complaints(self) -> list[str]:
        """Console errors, console warnings and uncaught exceptions so far, in their order."""
        self._wait_until_drawn()
        return list(self._complaints)

    @property
    def requests(self) -> list[str]:
        """Addresses requested so far, without the page itself and what is written in it."""
        self._wait_until_drawn()
        return list(self._requests)

    def screenshot(self, path: Path) -> Path:
        """Save the whole page, below the window too, as a PNG file, and return its path."""
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path

    def violations(self, **options: Any) -> list[str]:
        """Return the accessibility rules that the page breaks as it now is.

        Args:
            **options: axe-core's options of a run, such as ``runOnly``.

        Returns:
            A line for each rule: its name, how bad it is, what it says, where it is broken.
        """
        answer = Axe().run(self.page, options={"resultTypes": ["violations"], **options})
        return [
            f"{rule['id']} ({rule['impact']}): {rule['help']}: "
            + ", ".join(str(part) for node in rule["nodes"] for part in node["target"])
            for rule in answer.response["violations"]
        ]

    def _wait_until_drawn(self) -> None:
        if self._scripts:
            self.page.evaluate(TWO_FRAMES)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complaints.append(f"{message.type}: {message.text}")

    def _hear_error(self, error: Error) -> None:
        self._complaints.append(f"exception: {error}")

    def _see_request(self, request: Request) -> None:
        within = urlsplit(request.url).scheme in WITHIN_THE_PAGE
        if not within and urldefrag(request.url).url != self._address:
            self._requests.append(request.url)

    def _see_socket(self, socket: WebSocket) -> None:
        self._requests.append(socket.url)


@contextmanager
def started(program: Path, home: Path) -> Iterator[Browser]:
    """Run a browser.

    While it runs, no other loop of asyncio can run in this thread.

    Args:
        program: Chromium, or what takes its options.
        home: Empty folder that the browser takes for the user's home.

    Yields:
        Playwright's browser.
    """
    environment = {name: value for name, value in os.environ.items() if name[:4] != "XDG_"}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=FLAGS, env=environment | {"HOME": str(home)}
        )
        with browser:
            yield browser


@contextmanager
def shown(
    browser: Browser,
    path: Path,
    *,
    device: Mapping[str, Any] = DESKTOP,
    color_scheme: str = "light",
    **options: Any,
) -> Iterator[ShownPage]:
    """Open a page from a file, in a session of its own that reaches no network.

    Args:
        browser: The browser.
        path: The page.
        device: ``DESKTOP`` or ``PHONE``.
        color_scheme: ``light`` or ``dark``: what the reader prefers.
        **options: Other options of Playwright's ``new_context``, such as ``reduced_motion``.

    Yields:
        The page, loaded.
    """
    with browser.new_context(
        offline=True, color_scheme=color_scheme, **(dict(device) | options)
    ) as context:
        yield ShownPage(context, path, scripts=options.get("java_script_enabled", True))
