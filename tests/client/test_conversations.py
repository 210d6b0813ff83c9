"""A client's part in every conversation: what `attach` sends, and what it reports to the code that draws.

The browser's has the same part (`web/tests/conversations.test.ts`), and one thing more: it remembers
whether a job runs.
"""

from collections import defaultdict, deque
from dataclasses import astuple
from typing import Any

import pytest

from stagedoor.client.attach.attachment import (
    Attachment,
    Event,
    OutputGap,
    WriteOutput,
)
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import (
    Detach,
    Exit,
    Frame,
    HolderFrame,
    Mode,
    Notice,
    Out,
    People,
    Ping,
    Resize,
    Size,
    Sized,
    Snapshot,
    TerminalError,
)
from tests.wire.conversation import Step, runs, unrun
from tests.wire.conversations import told_to

RECEIVED = told_to("client")


class Replay:
    """The bytes that each person's client sends wait in `sent` until a step takes them."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.clients: dict[str, Attachment] = {}
        self.sent: dict[str, deque[str]] = defaultdict(deque)

    def run(self) -> None:
        for at, step in enumerate(self.steps):
            who = step.get("who", "")
            if who and who not in self.clients:
                mode = next(later["mode"] for later in self.steps[at:] if later.get("do") == "connects"
                            and later["who"] == who)  # fmt: skip
                self.clients[who] = Attachment(
                    "main", Size(80, 24), Mode(mode), "xterm-256color", "C.UTF-8", ""
                )
            match step:
                case {"do": what}:
                    self.rests(step)
                    self.does(who, what, step)
                case {"up": frame}:
                    assert self.sent[who], f"nothing was sent where this was to be: {step}"
                    assert self.sent[who].popleft() == frame
                case {"down": frame} if "lost" not in step:
                    self.rests(step)
                    self.hears(who, unrun(frame), step)
                case {"hangs_up": True}:
                    self.clients[who].is_attached = False
        self.rests({"the": "end"})

    def rests(self, step: Step) -> None:
        left = {who: list(sent) for who, sent in self.sent.items() if sent}
        assert not left, f"more was sent before {step}: {left}"

    def say(self, who: str, *frames: Frame) -> None:
        self.sent[who] += [runs(encode(frame)) for frame in frames]

    def does(self, who: str, what: str, step: Step) -> None:
        client = self.clients[who]
        match what:
            case "connects":
                client.size = Size(*step["size"])
                self.say(who, client.make_hello("ticket"))
            case "cut":
                client.is_attached = False
            case "typed":
                client.queue_input(unrun(step["data"]))
                self.say(who, *client.take_sendable())
            case "drawn":
                self.say(who, client.confirm_output())
            case "resized":
                client.size = Size(*step["size"])
                self.say(who, Resize(client.size))
            case "pings":
                self.say(who, Ping(step["number"]))
            case "detaches":
                self.say(who, Detach())

    def hears(self, who: str, data: bytes, step: Step) -> None:
        client, frame = self.clients[who], decode(data)
        assert isinstance(frame, HolderFrame)
        if "refused" in step:
            with pytest.raises(TerminalError):
                client.handle_frame(frame)
            return
        events = client.handle_frame(frame)
        assert [event_fields(event) for event in events] == step["events"]
        if isinstance(frame, Out | Snapshot):
            assert [event.data for event in events if isinstance(event, WriteOutput)] == [
                frame.data
            ]
        self.say(who, *client.take_sendable())


def event_fields(event: Event) -> dict[str, Any]:
    match event:
        case WriteOutput(_, is_counted):
            return {"do": "show", "counts": is_counted}
        case OutputGap(count):
            return {"do": "skipped", "count": count}
        case Notice(word, text):
            return {"do": "said", "word": int(word), "text": text}
        case Exit(code, signal):
            return {"do": "ended", "code": code, "signal": signal}
        case Sized(size):
            return {"do": "sized", "size": list(astuple(size))}
        case People():
            raise AssertionError("no conversation of these tells who is there")


@pytest.mark.parametrize("name", RECEIVED)
def test_the_client_has_its_part_in(name: str) -> None:
    Replay(RECEIVED[name]).run()
