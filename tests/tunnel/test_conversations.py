"""Both implementations of an end have the conversations of `tests/wire/tunnels.json`, to the byte."""

import json
from typing import Any

import pytest

from stagedoor.wire.tunnel.stream import WINDOW
from tests.tunnel.conversations import FILE, text
from tests.tunnel.ends import End, KitEnd
from tests.wire.conversation import runs, unrun

CONVERSATIONS = {item["name"]: item for item in json.loads(FILE.read_text(encoding="utf-8"))}
_ALL = 2 * WINDOW


def test_the_file_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "python -m tests.tunnel.conversations"


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_end_has_its_part_in(name: str, end: End) -> None:
    conversation = CONVERSATIONS[name]
    if conversation["watches"] and isinstance(end, KitEnd):
        return  # only a client probes its connection
    end.new(conversation["watches"])
    for step in conversation["steps"]:
        replay(end, step)


def replay(end: End, step: dict[str, Any]) -> None:
    now = step["at"]
    match step:
        case {"do": "connect"}:
            end.connect(now)
        case {"do": "cut"}:
            end.cut()
        case {"do": "take_end"}:
            end.take_end()
        case {"do": "deliver_end"}:
            end.deliver_end(now)
        case {"take": data}:
            end.take(unrun(data))
        case {"in": data}:
            assert end.receive(now, unrun(data)) is not step.get("fault", False), step
        case {"out": data}:
            written = b""
            while part := end.output(now, step.get("limit", _ALL) - len(written)):
                written += part
            assert runs(written) == data
        case {"deliver": data}:
            assert runs(end.deliver(now, _ALL)) == data
        case {"end": [code, why]}:
            end.end(code, why)
        case {"is": state}:
            values = end.state(now)._asdict()
            assert {name: values[name] for name in state} == state
        case _:
            raise AssertionError(step)
