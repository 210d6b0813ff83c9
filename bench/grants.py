"""The cost of authorising with many grants: `python -m bench.grants`.

It compares a policy of 50,000 grants, of 10,000 users, with one of 10. The user has the same three grants in
both. The rounds alternate, so that a change in the machine's speed is in both. Then it lists a user's apps
among 50,000, as a home page does.
"""

import statistics
import time
from dataclasses import replace
from types import MappingProxyType

from stagedoor.authz.authoriser import Authoriser
from stagedoor.authz.decide import authorise
from stagedoor.model.grant import Grant, GrantRule
from stagedoor.model.identity import Identity, Method
from stagedoor.model.policy import Policy, User
from stagedoor.model.selector import ALL_USERS
from stagedoor.model.target import Target

ROUNDS, CALLS = 15, 2000
APP = Target("app01", "production")
OWN = ("user:dev", "group:dev", ALL_USERS)


def policy_of(grants: int) -> Policy:
    """Return a policy with so many grants, three of which are about the user."""
    own = [GrantRule(n, subject, "app*") for n, subject in enumerate(OWN, 1)]
    others = [GrantRule(n, f"user:user{n % 10_000}", f"app{n % 500}") for n in range(4, grants + 1)]
    users = {"dev": User("dev", frozenset({"dev"})), "user7": User("user7")}
    return Policy(1, MappingProxyType(users), grants=(*own, *others))


def measure(policy: Policy) -> float:
    """Return the seconds that a verdict takes, in the mean of `CALLS`."""
    identity = Identity("dev", frozenset({"dev"}), Method.CERTIFICATE)
    began = time.perf_counter()
    for _ in range(CALLS):
        assert isinstance(authorise(policy, identity, APP, 0.0), Grant)
    return (time.perf_counter() - began) / CALLS


def measure_list(policy: Policy) -> float:
    """Return the least seconds, of five, that it takes to list the 1,000 apps of a user among 50,000."""
    theirs = [rule for rule in policy.grants if rule.subject != ALL_USERS]
    policy = replace(policy, grants=tuple(theirs))
    authoriser = Authoriser(lambda: policy, time.time)
    identity = Identity("user7", frozenset(), Method.CERTIFICATE)
    targets = [Target(f"app{n % 50}", f"team-{n // 50:04d}") for n in range(50_000)]
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        for target in authoriser.select_targets(identity, targets):
            authoriser.authorise(identity, target)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    """Print the median of each policy, their ratio, the time of the index, and that of a list of apps."""
    few, many = policy_of(10), policy_of(50_000)
    began = time.perf_counter()
    many.find_grants(OWN)
    index_ms = (time.perf_counter() - began) * 1000
    rounds = [(measure(few), measure(many)) for _ in range(ROUNDS)]
    few_us, many_us = (statistics.median(times) * 1e6 for times in zip(*rounds, strict=True))
    print(f"10 grants: {few_us:.2f} µs; 50,000 grants: {many_us:.2f} µs", end="; ")
    print(f"ratio {statistics.median(b / a for a, b in rounds):.2f}; index {index_ms:.1f} ms")
    print(f"a user's apps among 50,000: {measure_list(many) * 1000:.1f} ms")


if __name__ == "__main__":
    main()
