"""One browser for all tests of pages."""

import os

import pytest
from playwright.sync_api import expect, sync_playwright

from watched import CHROMIUM

expect.set_options(timeout=20000 * float(os.environ.get("ATOLL_PATIENCE", "1")))


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()
