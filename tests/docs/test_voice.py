"""The counts of idioms in tests/docs/voice.json may only fall."""

import json

from tests.docs import voice


def test_no_area_has_more_of_an_idiom_than_before() -> None:
    recorded = json.loads(voice.COUNTS.read_text(encoding="utf-8"))
    more = {
        f"{area}: {name}": f"{number}, before {recorded.get(area, {}).get(name, 0)}"
        for area, counts in voice.current().items()
        for name, number in counts.items()
        if number > recorded.get(area, {}).get(name, 0)
    }
    assert more == {}, "name the actor, begin with a verb: see CONTRIBUTING.md"
