"""Pages in headless Chromium, for tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_ALONE = (  # no sandbox in containers, and no questions to a network that a test must not need
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def opened(
    where: Path | str,
    *,
    width: int = 1100,
    height: int = 900,
    dark: bool = False,
    may_fail: str | None = None,
) -> Iterator[Page]:
    """Open a file, or the address of a service.

    At the end, nothing may have been written to the console and no other address asked for, apart from what
    the browser itself says of a file called ``may_fail`` that it cannot load.
    """
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    address = where if isinstance(where, str) else where.absolute().as_uri()
    own = f"{where}/" if isinstance(where, str) else "file:"
    problems: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(_ALONE), timeout=120_000)
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.set_default_timeout(120_000)
        page.on(
            "console",
            lambda message: (
                None
                if may_fail is not None and str(message.location["url"]).endswith(may_fail)
                else problems.append(f"console: {message.text}")
            ),
        )
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((own, "blob:", "data:"))
                else problems.append(f"asked for {request.url}")
            ),
        )
        page.goto(address)
        yield page
        browser.close()
    assert not problems
