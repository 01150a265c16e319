"""A browser, or a sentence where there is none."""

from __future__ import annotations

import os

import pytest

from tests.integration.browser.chromium import find_chromium


@pytest.fixture(scope="session")
def browser_program() -> str:
    """The browser; where CI is true, a test without one fails."""
    program = find_chromium()
    if program is None:
        trouble = "needs Chromium (chromium of Debian), then: make test-browser"
        if os.environ.get("CI") == "true":
            pytest.fail(trouble)
        pytest.skip(trouble)
    return program
