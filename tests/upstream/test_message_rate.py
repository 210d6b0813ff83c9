"""How much a shell may say beside its data."""

from hypothesis import given
from hypothesis import strategies as st

from stagedoor.upstream.connection import (
    MESSAGE_BURST,
    MESSAGES_PER_SECOND,
    PER_DATA,
    MessageRateLimit,
)

IGNORE, KEXINIT, REQUEST, OPEN, DATA = 2, 20, 80, 90, 94


def heard(chatter: MessageRateLimit, kind: int, now: float = 0.0) -> int:
    """Return how many messages of a kind are borne, up to two bursts."""
    return next(
        (n for n in range(2 * MESSAGE_BURST) if not chatter.count_message(kind, now)),
        2 * MESSAGE_BURST,
    )


def test_a_burst_is_borne_and_no_more() -> None:
    assert heard(MessageRateLimit(0.0), REQUEST) == MESSAGE_BURST


def test_what_costs_much_counts_for_many() -> None:
    assert heard(MessageRateLimit(0.0), KEXINIT) == MESSAGE_BURST // 50
    assert heard(MessageRateLimit(0.0), OPEN) == MESSAGE_BURST // 20


def test_time_brings_some_back() -> None:
    chatter = MessageRateLimit(0.0)
    heard(chatter, REQUEST)
    assert heard(chatter, REQUEST, now=10.0) == 10 * MESSAGES_PER_SECOND - 1  # one was owed


def test_an_sshd_that_sends_data_never_says_too_much() -> None:
    """asyncssh's sends an empty message before each packet, and opens windows as it is sent to."""
    chatter = MessageRateLimit(0.0)
    for _ in range(3 * MESSAGE_BURST):
        assert chatter.count_message(IGNORE, 0.0)
        assert chatter.count_message(DATA, 0.0)
        chatter.count_data()
        assert chatter.count_message(IGNORE, 0.0)
        assert chatter.count_message(93, 0.0)


@given(st.lists(st.tuples(st.integers(1, 255), st.floats(0, 1)), max_size=200))
def test_never_is_more_owed_than_one_message_costs(messages: list[tuple[int, float]]) -> None:
    chatter, now = MessageRateLimit(0.0), 0.0
    for kind, later in messages:
        now += later
        if not chatter.count_message(kind, now):
            break
        assert 0 <= chatter._left <= MESSAGE_BURST
    chatter.count_data()
    assert chatter._left <= MESSAGE_BURST + PER_DATA
