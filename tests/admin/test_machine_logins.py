"""Machines that log in by tokens: so many by one rule, and by no key that was revoked."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import ECKey

from stagedoor.admin import service as admin
from stagedoor.admin.certificates.user_signer import CertificateError
from stagedoor.admin.context import WorkerContext
from stagedoor.keys.files import format_public_line, make_key
from stagedoor.keys.signing import sign
from stagedoor.model.denial import Denial, Reason
from stagedoor.model.policy import Policy
from stagedoor.model.rate import Rate
from stagedoor.model.source import Source
from stagedoor.settings.machines import MachineSettings
from stagedoor.settings.settings import Settings
from stagedoor.signin.login import machine_logins
from stagedoor.signin.login.machine_logins import MachineLoginService, make_machine_text
from stagedoor.signin.login.service import NAMESPACE, LoginResult
from stagedoor.store.database import Database, open_database
from stagedoor.store.policy import load_policy

ISSUER, GATEWAY = "https://ci.example", "https://gw.example"
KEY = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
HERE = Source.of("192.0.2.1", 40000)
REVOKED = Denial(Reason.CREDENTIAL_WRONG, "the key was revoked")


class NoCertificates:
    """Satisfies UserCertificates, as one whose signer is away: a login goes on without."""

    async def sign(self, user: str, sign_in_number: int, public_key: str, ends_at: float) -> str:
        raise CertificateError("the signer is away")


class Jobs:
    def __init__(self, folder: Path) -> None:
        keys = folder / "keys.json"
        keys.write_text(json.dumps({"keys": [KEY.as_dict(private=False)]}))
        self.settings = Settings(
            data_dir=folder,
            machines=tuple(
                MachineSettings(
                    name=name,
                    user=f"ci-{name}",
                    issuer=ISSUER,
                    audience=GATEWAY,
                    claims={"repository": name},
                    own_issuer=True,
                    keys_file=keys,
                )
                for name in ("shop", "blog")
            ),
        )
        with admin.open_service(self.settings) as service:
            for machine in self.settings.machines:
                admin.add_user(service, machine.user)
        self.database: Database = open_database(self.settings.store_location)
        self.now = time.time()
        self.revoked: set[str] = set()
        self.service = MachineLoginService(
            WorkerContext(self.settings, self.database, Policy, lambda: self.now),
            NoCertificates(),
            lambda line: REVOKED if line in self.revoked else None,
        )

    def bound(self) -> int:
        return len(load_policy(self.database).bound_keys)

    async def log_in(
        self, repository: str = "shop", key: Ed25519PrivateKey | None = None
    ) -> LoginResult | Denial:
        claims = {"iss": ISSUER, "aud": GATEWAY, "sub": "job", "repository": repository}
        claims |= {"iat": int(self.now), "exp": int(self.now) + 300}
        token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, KEY, algorithms=["ES256"])
        signature, _ = sign(
            key or make_key(), make_machine_text(GATEWAY, token).decode(), NAMESPACE
        )
        return await self.service.log_in(GATEWAY, token, signature, HERE)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setattr(machine_logins, "LOGIN_RATE_PER_RULE", Rate(burst=4, interval_s=0.5))
    made = Jobs(tmp_path)
    yield made
    made.database.close()


async def test_a_job_that_logs_in_without_end_fills_no_memory_and_hinders_no_other(
    jobs: Jobs,
) -> None:
    """Each login was a change of the policy, and a row in every worker's memory, for up to an hour."""
    answers = [await jobs.log_in() for _ in range(6)]
    assert [isinstance(answer, LoginResult) for answer in answers] == [True] * 4 + [False] * 2
    assert isinstance(answers[-1], Denial)
    assert (answers[-1].reason, answers[-1].retry_after_s) == (Reason.THROTTLED, 1)
    assert "the rule 'shop'" in answers[-1].message
    assert jobs.bound() == 4
    assert isinstance(await jobs.log_in("blog"), LoginResult)
    jobs.now += 0.5
    assert isinstance(await jobs.log_in(), LoginResult)


async def test_a_revoked_key_gets_no_login(jobs: Jobs) -> None:
    key = make_key()
    jobs.revoked.add(" ".join(format_public_line(key).split()[:2]))
    assert await jobs.log_in(key=key) == REVOKED
    assert jobs.bound() == 0
    assert isinstance(await jobs.log_in(), LoginResult)
