"""What a test needs and this machine has not."""

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test; with CI=true fail it. `reason` names the command that helps."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing, and CI=true skips nothing: {reason}", pytrace=False)
    pytest.skip(reason)
