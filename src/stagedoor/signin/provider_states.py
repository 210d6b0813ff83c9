"""The state of each identity provider by its last answers about the active sign-ins. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stagedoor.model.identity import Method
from stagedoor.store.sign_in.sign_ins import SignInRecord
from stagedoor.wire.rfc3339 import show_time


@dataclass(frozen=True, slots=True)
class ProviderState:
    """The state of the identity provider `name`.

    `sign_ins` is the number of active sign-ins; `failing` of them were not confirmed when the provider was
    last asked. `answered_at` is when it last confirmed a sign-in, None if it never did. `failure` is the last
    answer that confirmed none, or why no answer came, at `failed_at`. Times are seconds since the epoch.
    """

    name: str
    sign_ins: int
    failing: int
    answered_at: float | None
    failure: str | None
    failed_at: float | None

    @property
    def is_failing(self) -> bool:
        """Return whether it has confirmed no sign-in since it failed."""
        return self.failed_at is not None and (self.answered_at or 0.0) < self.failed_at

    def __str__(self) -> str:
        """Return the state as one line for a person."""
        count = f"{self.sign_ins} sign-in{'s' if self.sign_ins != 1 else ''}"
        if self.answered_at is None:
            return count
        line = f"{count}, last confirmed {show_time(self.answered_at)}"
        if self.failure is not None and self.failed_at is not None:
            line += f"; for {self.failing} of them: {self.failure} ({show_time(self.failed_at)})"
        return line


def list_states(names: Iterable[str], records: Sequence[SignInRecord]) -> list[ProviderState]:
    """Return the state of each provider in `names`, from the records of the active sign-ins."""
    return [
        _derive_state(name, [record for record in records if _is_of(record, name)])
        for name in names
    ]


def _is_of(record: SignInRecord, provider: str) -> bool:
    return record.sign_in.method is Method.SSO and record.sign_in.credential_id == provider


def _derive_state(name: str, records: Sequence[SignInRecord]) -> ProviderState:
    failing = sorted(
        (record.failed_at, record.failure) for record in records if record.failed_at is not None
    )
    failed_at, failure = failing[-1] if failing else (None, None)
    answered = (record.sign_in.answered_at for record in records)
    answered_at = max((at for at in answered if at is not None), default=None)
    return ProviderState(name, len(records), len(failing), answered_at, failure, failed_at)
