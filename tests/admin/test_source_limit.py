"""A limit for strangers counts a source, and the site that it is one of many sources of."""

from stagedoor.model.denial import Denial
from stagedoor.model.rate import SITE_TIMES, Rate
from stagedoor.model.source import Source
from stagedoor.signin.source_limit import SourceLimit

BURST = 3


def test_addresses_of_one_site_share_its_limit() -> None:
    limit = SourceLimit(Rate(BURST, 8.0), "too many logins come from your {}", lambda: 1000.0)
    spread = [Source.of(f"2001:db8:5:{number:x}::1", 1) for number in range(1000)]
    answers = [limit.take(source) for source in spread]
    assert answers.count(None) == BURST * SITE_TIMES
    refusal = answers[-1]
    assert isinstance(refusal, Denial)
    assert refusal.message == "too many logins come from your network; try again in 2 s"
    assert limit.take(Source.of("2001:db8:6::1", 1)) is None, "another site is not counted"


def test_attempt_that_succeeds_is_given_back_to_source_and_site() -> None:
    limit = SourceLimit(Rate(1, 60.0), "too many logins come from your {}", lambda: 1000.0)
    source = Source.of("192.0.2.1", 1)
    assert limit.take(source) is None
    refusal = limit.take(source)
    assert isinstance(refusal, Denial)
    assert refusal.message == "too many logins come from your address; try again in 60 s"
    limit.give_back(source)
    assert limit.take(source) is None
