"""A forged certificate costs the same for every name, and a stranger's CA costs nothing."""

import pytest

from stagedoor.authn.decide_key import Trust, judge_key
from stagedoor.model.certificate import Certificate
from stagedoor.model.credential import KeyCredential
from stagedoor.model.denial import Denial
from stagedoor.model.identity import Identity
from stagedoor.model.policy import Policy, User
from stagedoor.model.source import Source

POLICY = Policy(users={"dev": User("dev")})
OURS = Trust(frozenset({"SHA256:ours"}))
HERE = Source.of("192.0.2.1", 40000)


def decided(name: str, ca: str = "SHA256:ours", signed: bool = False) -> tuple[object, int]:
    """The verdict, and how many signatures were verified for it."""
    verified = 0

    def is_signed_by_ca() -> bool:
        nonlocal verified
        verified += 1
        return signed

    certificate = Certificate(1, "id", (name,), 0, 2000, b"ca", ca)
    credential = KeyCredential(name, b"key", "SHA256:key", certificate, is_signed_by_ca)
    return judge_key(POLICY, credential, OURS, HERE, 1000), verified


@pytest.mark.parametrize("name", ["dev", "nobody"])
def test_a_forged_certificate_costs_one_signature_for_every_name(name: str) -> None:
    verdict, verified = decided(name)
    assert isinstance(verdict, Denial)
    assert verdict.message == "a certificate that its CA did not sign"
    assert verified == 1


def test_a_good_one_is_its_owner_s() -> None:
    verdict, verified = decided("dev", signed=True)
    assert isinstance(verdict, Identity)
    assert verified == 1


def test_one_of_a_stranger_s_ca_costs_none() -> None:
    """They choose the CA's key, and so what a signature would cost."""
    verdict, verified = decided("dev", ca="SHA256:theirs", signed=True)
    assert isinstance(verdict, Denial)
    assert verified == 0


def test_a_certificate_that_nobody_verified_is_not_believed() -> None:
    certificate = Certificate(1, "id", ("dev",), 0, 2000, b"ca", "SHA256:ours")
    credential = KeyCredential("dev", b"key", "SHA256:key", certificate)
    assert isinstance(judge_key(POLICY, credential, OURS, HERE, 1000), Denial)
