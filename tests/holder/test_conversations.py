"""The terminal's part in every conversation: what it says to which client, and what it does, step by step."""

from collections import defaultdict, deque
from typing import Any

import pytest

from stagedoor.holder.state import Action, HangUpLink, Redraw, Send, SetSize, TerminalState
from stagedoor.wire.terminal.codec import decode, encode
from stagedoor.wire.terminal.frames import Hello, Welcome
from tests.wire.conversation import Step, plain, runs, unrun
from tests.wire.conversations import told_to

CONVERSATIONS = told_to("terminal")


class Replay:
    """Replays one conversation; each action waits in `done` until a step claims it, and none may be left."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.state: TerminalState | None = None
        self.now = 0.0
        self.links: dict[int, str] = {}
        self.link_of: dict[str, int] = {}
        self.old: dict[str, int] = {}
        self.done: dict[str, deque[Any]] = defaultdict(deque)

    def run(self) -> None:
        for at, step in enumerate(self.steps):
            match step:
                case {"do": "connects"}:
                    self.rests(step)
                    self.link_of[step["who"]] = len(self.links)
                    self.links[len(self.links)] = step["who"]
                case {"do": "cut", "unnoticed": True}:
                    self.old[step["who"]] = self.link_of[step["who"]]
                case {"do": "cut"}:
                    assert self.state is not None
                    self.state.detach_link(self.link_of[step["who"]], self.now)
                case {"who": who, "up": frame}:
                    self.rests(step)
                    if "lost" not in step:
                        self.hears(who, unrun(frame), self.steps[at:])
                case {"who": who, "down": frame}:
                    assert self.next(who, step) == frame
                case {"who": who, "hangs_up": which}:
                    link = self.old[who] if which == "old" else self.link_of[who]
                    assert self.next(who, step) == ("hangs up", link)
                case {"terminal": what}:
                    self.terminal(what, step)
        self.rests({"the": "end"})

    def next(self, who: str, step: Step) -> Any:
        assert self.done[who], f"nothing was done where this was to come: {step}"
        return self.done[who].popleft()

    def rests(self, step: Step) -> None:
        left = {who: list(done) for who, done in self.done.items() if done}
        assert not left, f"more was done before {step}: {left}"

    def hears(self, who: str, data: bytes, rest: list[Step]) -> None:
        frame, link = decode(data), self.link_of[who]
        if isinstance(frame, Hello) and link not in self.attached():
            self.state = self.state or TerminalState(frame.size)
            # The name is random; the one that they are given here is the one that they are given there.
            welcomes = (decode(unrun(step["down"])) for step in rest
                        if step.get("who") == who and "down" in step)  # fmt: skip
            name = next(welcome.attachment for welcome in welcomes if isinstance(welcome, Welcome))
            self.do(self.state.attach_link(link, frame, name, self.now))
        else:
            assert self.state is not None
            self.do(self.state.handle_frame(link, frame, self.now))

    def attached(self) -> set[int]:
        return set(self.state._attachments.by_link) if self.state is not None else set()

    def do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send(link, frame):
                    self.done[self.links[link]].append(runs(encode(frame)))
                case HangUpLink(link):
                    self.done[self.links[link]].append(("hangs up", link))
                case SetSize(size):
                    self.done["terminal"].append(plain(size))
                case Redraw():
                    self.done["terminal"].append("redraws")

    def terminal(self, what: str, step: Step) -> None:
        state = self.state
        assert state is not None
        if what not in ("sized", "redraws", "reads"):
            self.rests(step)
        match what:
            case "writes":
                self.do(state.take_output(unrun(step["data"]), self.now))
            case "takes":
                data = unrun(step["data"])
                assert bytes(state.typed[: len(data)]) == data
                self.do(state.drop_taken(len(data)))
            case "exits":
                self.do(state.note_exit(step["code"], step["signal"]))
            case "busy":
                state.busy = step["is"]
            case "anew":
                self.state = None
            case "later":
                self.now += step["seconds"]
            case "sized":
                assert self.next("terminal", step) == step["size"]
            case "redraws":
                assert self.next("terminal", step) == "redraws"
            case "reads":
                assert state.is_output_due(self.now) is step["is"]
            case "is_over":
                assert state.is_over(self.now)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_terminal_has_its_part_in(name: str) -> None:
    Replay(CONVERSATIONS[name]).run()
