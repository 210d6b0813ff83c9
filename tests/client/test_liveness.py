"""The time at which a line counts as silent, by the table that the page is held to as well."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.client.attach.dialling import DIAL_S, Liveness, LivenessCheck

TABLE = json.loads((Path(__file__).parents[1] / "wire/liveness.json").read_text())


@pytest.mark.parametrize("story", TABLE, ids=lambda story: story["about"])
def test_the_table_holds(story: dict[str, Any]) -> None:
    line = Liveness()
    for step in story["steps"]:
        match step:
            case ["sent", now]:
                line.note_sent(now)
            case ["ping", now]:
                line.note_sent(now, ping=True)
            case ["heard"]:
                line.note_answer()
            case ["tick", now, *expected]:
                assert line.tick(now) == LivenessCheck(*expected), step
            case _:
                raise AssertionError(step)


@given(st.lists(st.floats(0, 5), max_size=40))
def test_no_line_is_given_up_before_its_time_however_ticks_come(waits: list[float]) -> None:
    line, now, probes = Liveness(), 0.0, 0
    line.note_sent(now)
    for wait in waits:
        now += wait
        judged = line.tick(now)
        probes += judged.probe
        assert judged.silent_s <= now
        assert not judged.dial or now >= DIAL_S
    assert probes <= 1
