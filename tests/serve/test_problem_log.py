"""A trouble stands in the log once, and once more when it is over."""

from stagedoor.serve.problem_log import ProblemLog


class Lines(list[tuple[str, ...]]):
    def info(self, event: str, /, *, part: str) -> None:
        self.append((event, part))

    def error(self, event: str, /, *, part: str, reason: str) -> None:
        self.append((event, part, reason))


def test_a_trouble_is_said_once_however_often_it_is_tried_again() -> None:
    lines = Lines()
    problem_log = ProblemLog(lines)
    problem_log("audit", None)
    for _ in range(3):
        problem_log("audit", "no room")
        problem_log("policy", "no answer")
    problem_log("audit", "no disk")
    problem_log("audit", None)
    problem_log("audit", None)
    problem_log("audit", "no room")
    assert lines == [
        ("fails", "audit", "no room"),
        ("fails", "policy", "no answer"),
        ("fails", "audit", "no disk"),
        ("works again", "audit"),
        ("fails", "audit", "no room"),
    ]
