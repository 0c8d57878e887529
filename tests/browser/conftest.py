"""The browser that these tests share."""

import os

import browsing
import pytest
from playwright.sync_api import sync_playwright


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        executable = browsing.find_chromium(playwright)
        if executable is None:
            browsing.without_chromium(os.environ)
        browser = browsing.launch(playwright, executable)
        yield browser
        browser.close()
