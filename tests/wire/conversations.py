"""Whole conversations that every implementation of the terminal protocol is held to: `conversations.json`.

`python -m tests.wire.conversations` writes it. Each side replays its own part: both clients
(`tests/client/test_conversations.py`, `web/tests/conversations.test.ts`), the terminal's state
(`tests/holder/test_conversations.py`), and a whole gateway with a holder of either kind
(`tests/web/test_conversations.py`). What the steps mean is in `conversation`.
"""

import json
from pathlib import Path

from stagedoor.wire.terminal.frames import (
    Ack,
    Exit,
    Gap,
    Hello,
    HolderFrame,
    In,
    InAck,
    Mode,
    Notice,
    NoticeKind,
    Out,
    Pong,
    Size,
    Sized,
    Snapshot,
    Welcome,
)
from tests.wire.conversation import SIZE, WINDOW, Conversation, Step

FILE = Path(__file__).with_name("conversations.json")
WIDE = Size(120, 40, 1200, 800)
LONG = 1_200_000
"""More than a terminal keeps."""
REPLAYED = 128 * 1024 - 1
"""Of empty lines: the last 128 KiB begin in the middle of one, as far as can be seen."""


def newcomers() -> list[Conversation]:
    plain = Conversation(
        "a newcomer is shown what stands there, and nothing that asks his terminal"
    )
    one, other = plain.person("a"), plain.person("b")
    one.comes("a1")
    shown = b"one\r\n\x1b[6n\x1b[c\x1b]0;title\x07two\r\n$ \x1b[?2004h"
    plain.writes(shown)
    one.sees(0, shown)
    one.has_drawn()
    other.comes("b1", len(shown))
    other.is_shown(b"one\r\ntwo\r\n$ \x1b[?2004h\x1b[?2004h")

    full = Conversation("a newcomer to a program that fills the screen is drawn it by the program")
    one, other = full.person("a"), full.person("b")
    one.comes("a1")
    shown = b"$ vi\r\n\x1b[?1049hhalf a screen"
    full.writes(shown)
    one.sees(0, shown)
    one.has_drawn()
    other.comes("b1", len(shown))
    other.is_shown(b"$ vi\r\n\x1b[?1049h")
    full.terminal("redraws")
    return [plain, full]


def typing() -> list[Conversation]:
    little = Conversation("what is typed is told as taken once the program's terminal has it")
    one = little.person("a")
    one.comes("a1")
    for at, line in ((0, b"ls\r"), (3, "é你😀\r".encode())):
        one.types(at, line)
        little.takes(line)
        one.is_told_taken(at + len(line))

    much = Conversation("no more is typed than a window takes, and then as much as was taken")
    one = much.person("a")
    one.comes("a1")
    one.does("typed", data=f"78*{WINDOW + 5000}")
    one.up(In(0, b"x" * 65536))
    one.up(In(65536, b"x" * 65536))
    much.takes(b"x" * 3000)
    one.is_told_taken(3000)
    one.up(In(WINDOW, b"x" * 3000))
    much.takes(b"x" * WINDOW)
    one.is_told_taken(WINDOW + 3000)
    one.up(In(WINDOW + 3000, b"x" * 2000))
    much.takes(b"x" * 2000)
    one.is_told_taken(WINDOW + 5000)
    return [little, much]


def showing() -> list[Conversation]:
    window = Conversation("output goes as far as a window, and on once it is drawn")
    one = window.person("a")
    one.comes("a1")
    window.writes(b"x" * (WINDOW + 5))
    one.sees(0, b"x" * WINDOW)
    window.terminal("reads", **{"is": False})
    one.has_drawn()
    one.sees(WINDOW, b"x" * 5)
    window.terminal("reads", **{"is": True})
    one.has_drawn()
    return [window]


def cuts() -> list[Conversation]:
    output = Conversation("a line that is cut amid output loses and repeats nothing")
    one = output.person("a")
    one.comes("a1")
    output.writes(b"seen")
    one.sees(0, b"seen")
    one.has_drawn()
    output.writes(b" lost")
    one.sees(4, b" lost", lost=True)
    one.cut()
    output.writes(b" meanwhile")
    one.comes("a1", 4)
    one.sees(4, b" lost meanwhile")
    one.has_drawn()

    typed = Conversation("a line that is cut amid typing loses and repeats nothing")
    one = typed.person("a")
    one.comes("a1")
    one.types(0, b"abc")
    typed.takes(b"abc")
    one.is_told_taken(3, lost=True)
    one.types(3, b"def", lost=True)
    one.cut()
    one.does("typed", data=b"g".hex())
    one.comes("a1", 0, 3)
    one.up(In(3, b"defg"))
    typed.takes(b"defg")
    one.is_told_taken(7)

    twice = Conversation("what is typed again, since nobody said that it had come, is taken once")
    one = twice.person("a")
    one.comes("a1")
    one.types(0, b"hello")
    twice.takes(b"he")
    one.is_told_taken(2)
    one.cut()
    one.comes("a1", 0, 2)
    one.up(In(2, b"llo"))
    one.is_told_taken(2)
    one.cut()
    one.does("typed", data=b" you".hex())
    one.comes("a1", 0, 2)
    one.up(In(2, b"llo you"))
    twice.takes(b"llo you")
    one.is_told_taken(9)

    unnoticed = Conversation("who comes back before his old line is known to be cut has one line")
    one = unnoticed.person("a")
    one.comes("a1")
    unnoticed.writes(b"one")
    one.sees(0, b"one")
    one.has_drawn()
    one.cut(unnoticed=True)
    one.connects()
    one.hangs_up("old")
    one.welcomed("a1", 3)
    unnoticed.writes(b"two")
    one.sees(3, b"two")
    one.has_drawn()
    return [output, typed, twice, unnoticed]


def absences() -> list[Conversation]:
    back = Conversation("who has detached misses nothing of what is kept")
    one = back.person("a")
    one.comes("a1")
    one.types(0, b"x")
    back.takes(b"x")
    one.is_told_taken(1)
    one.detaches()
    back.writes(b"meanwhile")
    one.comes("a1", 0, 1)
    one.sees(0, b"meanwhile")
    one.has_drawn()

    gone = Conversation("who has detached is told what was not kept, and shown what stands there")
    one = gone.person("a")
    one.comes("a1")
    gone.writes(b"begin")
    one.sees(0, b"begin")
    one.has_drawn()
    one.detaches()
    gone.writes(b"\n" * LONG)
    one.comes("a1", 5)
    one.down(Gap(5, 5 + LONG))
    one.is_shown(b"\n" * REPLAYED)
    gone.writes(b"end")
    one.sees(5 + LONG, b"end")
    one.has_drawn()

    late = Conversation("a line that is cut holds the program for a minute, and no longer")
    one = late.person("a")
    one.comes("a1")
    late.writes(b"\n" * WINDOW)
    one.sees(0, b"\n" * WINDOW)
    one.cut()
    late.terminal("later", seconds=59)
    late.terminal("reads", **{"is": False})
    late.terminal("later", seconds=2)
    late.terminal("reads", **{"is": True})
    late.writes(b"\n" * LONG)
    one.comes("a1", WINDOW)
    one.down(Gap(WINDOW, WINDOW + LONG))
    one.is_shown(b"\n" * REPLAYED)

    others = Conversation("of two who type, one whose line is cut does not hold the other up")
    one, other = others.person("a"), others.person("b")
    one.comes("a1")
    other.comes("b1")
    one.cut()
    for at in (0, WINDOW // 2):
        others.writes(b"\n" * (WINDOW // 2))
        other.sees(at, b"\n" * (WINDOW // 2))
        other.has_drawn()
    others.terminal("reads", **{"is": True})
    other.cut()
    others.terminal("reads", **{"is": False})
    one.comes("a1", 0)
    one.sees(0, b"\n" * WINDOW)

    forgotten = Conversation(
        "where nobody knows him any more counting begins anew, and nothing goes twice"
    )
    one = forgotten.person("a")
    one.comes("a1")
    forgotten.writes(b"old")
    one.sees(0, b"old")
    one.has_drawn()
    one.types(0, b"rm x")
    forgotten.takes(b"rm x")
    one.is_told_taken(4, lost=True)
    one.cut()
    one.does("typed", data=b"later".hex())
    forgotten.terminal("anew")
    one.connects()
    one.welcomed("a2")
    one.up(In(0, b"later"))
    forgotten.takes(b"later")
    one.is_told_taken(5)
    forgotten.writes(b"new")
    one.sees(0, b"new")
    one.has_drawn()
    return [back, gone, late, others, forgotten]


def company() -> list[Conversation]:
    over = Conversation("who takes over sends away the other who types, once")
    one, other = over.person("a"), over.person("b", Mode.TAKE_OVER)
    third = over.person("c", Mode.WATCH)
    one.comes("a1")
    third.comes("c1")
    other.connects()
    one.down(Notice(NoticeKind.TAKEN_OVER, "taken over by another user"))
    one.hangs_up()
    other.welcomed("b1", mode=Mode.TAKE_OVER)
    other.cut()
    one.comes("a1")
    other.comes("b1")
    other.types(0, b"both")
    over.takes(b"both")
    other.is_told_taken(4)
    over.writes(b"all")
    for client in (one, other, third):
        client.sees(0, b"all")

    sizes = Conversation(
        "the window is that of whoever did something last, and the others are told"
    )
    one, other = sizes.person("a"), sizes.person("b", size=WIDE)
    one.comes("a1")
    other.comes("b1")
    sizes.sized(WIDE)
    one.down(Sized(WIDE))
    one.types(0, b"x")
    sizes.sized(SIZE)
    # He as well: what he heard of the other's may have been on its way to him when he typed.
    one.down(Sized(SIZE))
    other.down(Sized(SIZE))
    sizes.takes(b"x")
    one.is_told_taken(1)
    one.resizes(Size(90, 30))
    sizes.sized(Size(90, 30))
    other.down(Sized(Size(90, 30)))
    other.resizes(Size(132, 43))
    sizes.sized(Size(132, 43))
    one.down(Sized(Size(132, 43)))
    other.down(Sized(Size(132, 43)))
    sizes.writes(b"both")
    for client in (one, other):
        client.sees(0, b"both")
    for client in (one, other):
        client.has_drawn()

    watch = Conversation("who watches types nothing, and has no say in the size")
    one, other = watch.person("a"), watch.person("b", Mode.WATCH, WIDE)
    one.comes("a1")
    other.comes("b1")
    other.down(Sized(SIZE))
    other.does("typed", data=b"rm -r /\r".hex())
    other.resizes(Size(132, 43))
    watch.writes(b"$ ")
    for client in (one, other):
        client.sees(0, b"$ ")
    for client in (one, other):
        client.has_drawn()
    one.resizes(Size(90, 30))
    watch.sized(Size(90, 30))
    other.down(Sized(Size(90, 30)))

    types = Conversation(
        "who watches and types all the same is told that it is dealt with", ("terminal",)
    )
    one, other = types.person("a"), types.person("b", Mode.WATCH)
    one.comes("a1")
    other.comes("b1")
    other.up(In(0, b"rm -r /\r"))
    other.is_told_taken(8)
    one.types(0, b"ls\r")
    types.takes(b"ls\r")
    one.is_told_taken(3)

    behind = Conversation(
        "who watches and does not keep up holds nobody, and is told what he missed"
    )
    one, other = behind.person("a"), behind.person("b", Mode.WATCH)
    one.comes("a1")
    other.comes("b1")
    for window in range(10):
        behind.writes(b"\n" * WINDOW)
        one.sees(window * WINDOW, b"\n" * WINDOW)
        if window == 0:
            other.sees(0, b"\n" * WINDOW)
        one.has_drawn()
    other.has_drawn()
    other.down(Gap(WINDOW, 10 * WINDOW))
    other.is_shown(b"\n" * REPLAYED)

    guest = Conversation("who is let watch only types nothing more", ("client",))
    one = guest.person("a")
    one.does("typed", data=b"early".hex())
    one.connects()
    one.welcomed("a1", mode=Mode.WATCH)
    one.does("typed", data=b"rm -r /\r".hex())
    return [over, sizes, watch, types, behind, guest]


def ends() -> list[Conversation]:
    words = Conversation("the program's end comes behind its last word")
    one = words.person("a")
    one.comes("a1")
    words.writes(b"bye")
    one.sees(0, b"bye")
    words.terminal("exits", code=3, signal="")
    one.down(Exit(3))
    one.has_drawn()
    one.detaches()
    words.terminal("is_over")

    long = Conversation("the program's end waits behind a full window")
    one = long.person("a")
    one.comes("a1")
    long.writes(b"x" * (WINDOW + 5))
    one.sees(0, b"x" * WINDOW)
    long.terminal("exits", code=143, signal="TERM")
    one.has_drawn()
    one.sees(WINDOW, b"x" * 5)
    one.down(Exit(143, "TERM"))
    one.has_drawn()
    one.detaches()
    long.terminal("is_over")

    missed = Conversation("the program's end waits for whoever was cut off before it")
    one = missed.person("a")
    one.comes("a1")
    one.cut()
    missed.writes(b"last")
    missed.terminal("exits", code=0, signal="")
    one.comes("a1")
    one.sees(0, b"last")
    one.down(Exit(0))
    one.has_drawn()
    one.detaches()
    missed.terminal("is_over")

    again = Conversation("the program's end is told again to whoever was cut off as it was told")
    one = again.person("a")
    one.comes("a1")
    again.writes(b"bye")
    one.sees(0, b"bye")
    one.has_drawn()
    again.terminal("exits", code=1, signal="")
    one.down(Exit(1), lost=True)
    one.cut()
    one.comes("a1", 3)
    one.down(Exit(1))
    one.detaches()
    again.terminal("is_over")
    return [words, long, missed, again]


def pings() -> list[Conversation]:
    busy = Conversation("a PONG says whether a job has the foreground")
    one = busy.person("a")
    one.comes("a1")
    for number, is_busy in ((7, False), (8, True), (2**53 - 1, False)):
        busy.terminal("busy", **{"is": is_busy})
        one.pings(number)
        one.down(Pong(number, is_busy))
    return [busy]


def expulsions() -> list[Conversation]:
    """Return conversations of what no client may send, and of what a terminal never does."""
    cases: list[tuple[str, tuple[object, ...], str]] = [
        ("input that leaves something out", (In(5, b"rm"),), "input at offset 5 arrived, but 0 was expected"),
        ("an acknowledgement of what was not sent", (Ack(1),), "ACK does not belong here"),
        (
            "more input than a window",
            (In(0, b"x" * 65536), In(65536, b"x" * 65536), In(WINDOW, b"x")),
            "more input than the window has room for",
        ),
        ("a second HELLO", (Hello("ticket", "main", "", 0, SIZE),), "HELLO does not belong here"),
        *(
            (f"{name} of a developer's side", (frame,), f"{name} does not belong here")
            for name, frame in (
                ("WELCOME", Welcome("a1", 0, 0, 1)), ("OUT", Out(0, b"x")), ("INACK", InAck(0)),
                ("GAP", Gap(0, 1)), ("SNAPSHOT", Snapshot(b"x")), ("EXIT", Exit(0)), ("PONG", Pong(0)),
                ("SIZED", Sized(SIZE)), ("NOTICE", Notice(NoticeKind.FAULT, "x")),
            )
        ),
    ]  # fmt: skip
    made = []
    for name, frames, why in cases:
        rude = Conversation(f"{name} ends the line, and the terminal stays", ("terminal",))
        one = rude.person("a")
        one.comes("a1")
        for frame in frames:
            one.up(frame)  # type: ignore[arg-type]
        one.down(Notice(NoticeKind.FAULT, why))
        one.hangs_up()
        if name != "more input than a window":
            one.comes("a1")
        made.append(rude)

    back = Conversation(
        "an acknowledgement that goes back ends the line, and the terminal stays", ("terminal",)
    )
    one = back.person("a")
    one.comes("a1")
    back.writes(b"abc")
    one.sees(0, b"abc")
    one.up(Ack(3))
    one.up(Ack(2))
    one.down(Notice(NoticeKind.FAULT, "ACK does not belong here"))
    one.hangs_up()
    one.comes("a1", 3)

    for name, data, why in (
        ("an unknown frame", b"\x00", "an unknown frame, 0x00"),
        ("no frame at all", b"", "an empty frame"),
        ("a frame that is cut short", b"\x03\0", "a frame 0x03 that is cut short"),
        ("a frame that says too much", b"\x06\0", "1 bytes too many in Detach"),
    ):
        rude = Conversation(f"{name} ends the line, and the terminal stays", ("gateway",))
        one = rude.person("a")
        one.comes("a1")
        one.says(data)
        one.down(Notice(NoticeKind.FAULT, why))
        one.hangs_up()
        one.comes("a1")
        made.append(rude)

    first = Conversation("whoever begins with another frame than HELLO is not let in", ("gateway",))
    one = first.person("a")
    one.does("connects", mode=one.mode, size=[80, 24, 0, 0])
    one.up(In(0, b"ls"))
    one.down(Notice(NoticeKind.FAULT, "the first frame is no HELLO"))
    one.hangs_up()

    liar = Conversation("who claims to have seen what was never sent is a newcomer", ("terminal",))
    one = liar.person("a")
    one.comes("a1")
    liar.writes(b"abc")
    one.sees(0, b"abc")
    one.cut()
    one.seen = 4
    one.connects()
    one.welcomed("a2", 3)
    one.is_shown(b"abc")
    return [*made, back, first, liar]


def refusals() -> list[Conversation]:
    """Return conversations of frames that a client does not believe."""
    wrong: tuple[tuple[str, HolderFrame], ...] = (
        ("output that leaves something out", Out(5, b"x")),
        ("output that comes twice", Out(3, b"x")),
        ("a gap from elsewhere", Gap(5, 9)),
        ("input as taken that was never sent", InAck(5)),
        ("a welcome that goes on elsewhere", Welcome("a1", 9, 0, WINDOW)),
    )
    made = []
    for name, frame in wrong:
        false = Conversation(f"a client refuses {name}", ("client",))
        one = false.person("a")
        one.comes("a1")
        one.sees(0, b"abcd")
        one.types(0, b"wxyz")
        one.down(frame, refused=True)
        made.append(false)

    words = Conversation("each word is handed on as it is", ("client",))
    one = words.person("a")
    one.connects()
    for word in NoticeKind:
        one.down(Notice(word, f"word {int(word)}"))
    return [*made, words]


def conversations() -> list[Conversation]:
    return [
        *newcomers(), *typing(), *showing(), *cuts(), *absences(), *company(), *ends(), *pings(),
        *expulsions(), *refusals(),
    ]  # fmt: skip


def text() -> str:
    """The file: one step a line."""
    rows = []
    for conversation in conversations():
        steps = ",\n".join("   " + json.dumps(step) for step in conversation.steps)
        rows.append(
            f' {{"name": {json.dumps(conversation.name)}, "sides": {json.dumps(conversation.sides)},\n'
            f'  "steps": [\n{steps}\n  ]}}'
        )
    return "[\n" + ",\n".join(rows) + "\n]\n"


def told_to(side: str) -> dict[str, list[Step]]:
    """The steps of each conversation in which that side has a part, by name, as they stand in the file."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        conversation["name"]: conversation["steps"]
        for conversation in kept
        if side in conversation["sides"]
    }


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
