"""The identity provider beside the demo, where npm or Node misbehave."""

import asyncio
from pathlib import Path

import pytest

from stagedoor.demo import provider
from stagedoor.model.errors import StagedoorError
from tests.waiting import BOUND_S


async def test_an_npm_that_hangs_with_what_it_started_is_ended_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child of it holds its stderr, and so the end of it."""
    for name, does in (("npm", "sleep 1000 & sleep 1000"), ("node", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provider, "READY_S", 0.1)
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(StagedoorError, match="npm did not answer"):
            async with provider.run_provider(tmp_path, "127.0.0.1"):
                pass
