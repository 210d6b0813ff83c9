"""The targets, and the judgement of a result by them."""

import statistics
from dataclasses import dataclass

from series import Result, Series, pairwise
from web_subjects import ATTACH, BROWSER, OURS, SOCKET


@dataclass(frozen=True)
class Verdict:
    """One line of the table of targets: the target, the measured value, and a word for the result."""

    target: str
    found: str
    word: str


@dataclass(frozen=True)
class AtMost:
    """A target: our value is at most `factor` times that of `other`, by the median of pairs.

    A `factor` of None is not a target: the comparison is only shown, since readers would ask for it.
    """

    text: str
    benchmark: str
    case: str
    measure: str
    other: str
    factor: float | None

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        ours = result.find(self.benchmark, self.case, OURS, self.measure)
        theirs = result.find(self.benchmark, self.case, self.other, self.measure)
        if ours is None or theirs is None:
            return Verdict(self.text, "", "not measured")
        ratios = pairwise(ours, theirs)
        ratio = statistics.median(ratios)
        text = (
            f"{ratio:.2f} × ({min(ratios):.2f}–{max(ratios):.2f}): "
            f"{_value(ours)} against {_value(theirs)}"
        )
        if self.factor is None:
            return Verdict(self.text, text, "no target")
        return Verdict(self.text, text, "reached" if ratio <= self.factor else "missed")


@dataclass(frozen=True)
class AtLeast:
    """A target: our value is at least `factor` times that of `other`, by the median of pairs."""

    text: str
    benchmark: str
    case: str
    measure: str
    other: str
    factor: float

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        most = AtMost(self.text, self.benchmark, self.case, self.measure, self.other, None)
        verdict = most.judge(result)
        if verdict.word != "no target":
            return verdict
        ours = result.find(self.benchmark, self.case, OURS, self.measure)
        theirs = result.find(self.benchmark, self.case, self.other, self.measure)
        assert ours is not None
        assert theirs is not None
        reached = statistics.median(pairwise(ours, theirs)) >= self.factor
        return Verdict(self.text, verdict.found, "reached" if reached else "missed")


@dataclass(frozen=True)
class AtMostMore:
    """A target: the median of our value is greater than that of `other` by at most `limit`."""

    text: str
    benchmark: str
    case: str
    measure: str
    other: str
    limit: float

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        ours = result.find(self.benchmark, self.case, OURS, self.measure)
        theirs = result.find(self.benchmark, self.case, self.other, self.measure)
        if ours is None or theirs is None:
            return Verdict(self.text, "", "not measured")
        more = ours.median - theirs.median
        return Verdict(
            self.text,
            f"{more:+.3g} {ours.unit}: {_value(ours)} against {_value(theirs)}",
            "reached" if more <= self.limit else "missed",
        )


@dataclass(frozen=True)
class Below:
    """A target: the median of `subject` is at most `limit`."""

    text: str
    benchmark: str
    case: str
    measure: str
    limit: float
    subject: str = OURS

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        ours = result.find(self.benchmark, self.case, self.subject, self.measure)
        if ours is None:
            return Verdict(self.text, "", "not measured")
        return Verdict(
            self.text, _value(ours), "reached" if ours.median <= self.limit else "missed"
        )


@dataclass(frozen=True)
class Above:
    """A target: the median of `subject` is at least `limit`."""

    text: str
    benchmark: str
    case: str
    measure: str
    limit: float
    subject: str

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        ours = result.find(self.benchmark, self.case, self.subject, self.measure)
        if ours is None:
            return Verdict(self.text, "", "not measured")
        return Verdict(
            self.text, _value(ours), "reached" if ours.median >= self.limit else "missed"
        )


@dataclass(frozen=True)
class SameAsDirect:
    """A target: the median of ratios to `direct` differs from 1 by at most direct's own spread."""

    text: str
    benchmark: str
    case: str
    measure: str
    subject: str

    def judge(self, result: Result) -> Verdict:
        """Judge a result."""
        ours = result.find(self.benchmark, self.case, self.subject, self.measure)
        plain = result.find(self.benchmark, self.case, "direct", self.measure)
        if ours is None or plain is None:
            return Verdict(self.text, "", "not measured")
        ratio = statistics.median(pairwise(ours, plain))
        noise = (plain.most - plain.least) / plain.median
        return Verdict(
            self.text,
            f"{ratio:.2f} × direct, whose own spread is {noise:.0%}",
            "reached" if abs(ratio - 1) <= noise else "missed",
        )


def _value(series: Series) -> str:
    digits = ".3g" if series.median < 1000 else ",.0f"
    return f"{series.median:{digits}} {series.unit}"


Target = AtMost | AtMostMore | AtLeast | Below | Above | SameAsDirect

TARGETS: tuple[Target, ...] = (
    *(
        AtMost(
            f"CPU for a GiB, {case}: ≤ {factor} × HAProxy",
            "throughput",
            case,
            "CPU",
            "haproxy",
            factor,
        )
        for case, factor in (
            ("1 stream up", 1.0),
            ("1 stream down", 1.0),
            ("32 streams up", 0.9),
            ("32 streams down", 0.9),
        )
    ),
    *(
        AtMost(
            f"CPU for a GiB, {case}, HAProxy with 1 MiB pipes",
            "throughput",
            case,
            "CPU",
            "haproxy-1m",
            None,
        )
        for case in ("1 stream up", "1 stream down", "32 streams up", "32 streams down")
    ),
    *(
        AtMost(f"CPU for a CONNECT, {case}: ≤ squid", "connects", case, "CPU", "squid", 1.0)
        for case in ("1 at once", "64 at once")
    ),
    *(
        Below(f"memory for an idle tunnel, {case}: ≤ 1.9 KiB", "idle", case, "memory", 1.9)
        for case in ("5,000 tunnels", "20,000 tunnels")
    ),
    *(
        AtMost(
            f"keystroke {measure}: ≤ HAProxy",
            "keystrokes",
            "one byte there and back",
            measure,
            "haproxy",
            1.0,
        )
        for measure in ("p50", "p99")
    ),
    *(
        SameAsDirect(
            f"scp {way} with --fdpass: direct, within noise",
            "scp",
            f"{way}, through stagedoor",
            "speed",
            "stagedoor --fdpass",
        )
        for way in ("up", "down")
    ),
    *(
        AtLeast(f"a resumable tunnel {way}: ≥ 0.8 × nc", "resume", "ssh to app01", way, "nc", 0.8)
        for way in ("up", "down")
    ),
    *(
        AtMostMore(
            f"{text} through a resumable tunnel: ≤ {shown} more than without",
            "resume",
            "ssh to app01",
            measure,
            "stagedoor --no-resume",
            limit,
        )
        for text, measure, limit, shown in (
            ("keystroke p99", "a keystroke, p99", 200, "0.2 ms"),
            ("login", "login", 30, "30 ms"),
        )
    ),
    Below("back after 5 s away: ≤ 2 s", "resume", "ssh to app01", "back after 5 s away", 2),
    Below(
        "200 clients back at once, one core: ≤ 5 s",
        "resume",
        "ssh to app01",
        "200 clients back at once",
        5,
    ),
    Below("the client's memory: ≤ 14 MiB", "resume", "ssh to app01", "the client", 14),
    Below(
        "the endpoint, an idle session: ≤ 64 KiB",
        "resume",
        "ssh to app01",
        "the endpoint, a session",
        64,
    ),
)

_JUMP_CASES = ("1 stream up", "8 streams up", "1 stream down", "8 streams down")
JUMP_TARGETS: tuple[Target, ...] = (
    *(
        AtLeast(f"speed, {case}: ≥ 0.9 × sshd", "jump_bulk", case, "speed", "sshd", 0.9)
        for case in _JUMP_CASES
    ),
    *(
        AtMost(f"CPU for a GiB, {case}: ≤ 1.3 × sshd", "jump_bulk", case, "CPU", "sshd", 1.3)
        for case in _JUMP_CASES
    ),
    *(
        AtMost(
            f"keystroke {measure}, {case}: ≤ 1.2 × sshd",
            "jump_keystrokes",
            case,
            measure,
            "sshd",
            1.2,
        )
        for case in ("a key typed into ssh -J", "one byte over a bare channel")
        for measure in ("p50", "p99")
    ),
)

_CAT = "cat of 100 MB"
_PROMPT = "from the command, or the address, to the first prompt"
WEB_TARGETS: tuple[Target, ...] = (
    Below(
        "Ctrl-C while `yes` runs, in the browser, p95: ≤ 150 ms",
        "web_interrupt", "until the prompt is seen", "p95", 150, BROWSER,
    ),
    Above("`cat` of 100 MB, in the browser: ≥ 13 MB/s", "web_bulk", _CAT, "speed", 13, BROWSER),
    Above("`cat` of 100 MB, `attach`: ≥ 28 MB/s", "web_bulk", _CAT, "speed", 28, ATTACH),
    Below(
        "Escape in vim under tmux, in the browser, p95: ≤ 100 ms",
        "web_escape", "from Escape until INSERT is gone", "p95", 100, BROWSER,
    ),
    Below(
        "a dead line is said, in the browser: ≤ 3 s",
        "web_dead_line", "from the key until the page says something", "time", 3, BROWSER,
    ),
    *(
        Below(f"a key there and back, {name}, p95: ≤ 3 ms", "web_echo", "there and back", "p95", 3, name)
        for name in (ATTACH, SOCKET)
    ),
    Below(
        "a key on a line of 300 ms, in the browser, p95: ≤ 30 ms",
        "web_slow_line", "from the key to the letter, 300 ms there and back", "p95", 30, BROWSER,
    ),
    *(
        Below(f"an idle session in the gateway, {case}: ≤ 110 KB", "web_idle", case, "idle", 107.4)
        for case in ("500 sessions", "1,000 sessions")
    ),
    *(
        Below(f"sessions lost, {case}: 0", "web_storm", case, "lost", 0)
        for case in ("500 sessions", "1,000 sessions")
    ),
    Below("the first prompt, in the browser: < 1 s", "web_start", _PROMPT, "time", 999, BROWSER),
    Below("the first prompt, `attach`: ≤ 250 ms", "web_start", _PROMPT, "time", 250, ATTACH),
)  # fmt: skip
