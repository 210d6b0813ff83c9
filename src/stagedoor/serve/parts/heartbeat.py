"""The heartbeat of a worker in a store that several machines share."""

from collections.abc import Callable, Sequence

import structlog

from stagedoor.admin.certificates.authorities import read_host_ca, read_user_ca
from stagedoor.session.registry import Registry
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database
from stagedoor.store.liveness.heartbeat import Heartbeat
from stagedoor.store.liveness.instances import find_instances_folder
from stagedoor.wire.ssh.key import KeyRefused, parse_public_key


def start_heartbeat(
    settings: Settings,
    database: Database,
    instance: str,
    registry: Registry,
    on_problem: Callable[[str, str | None], None],
) -> Heartbeat | None:
    """Start and return a heartbeat, or None for a store of this machine alone, where lock files suffice.

    Raises StoreError.
    """
    if not database.shared:
        return None
    log = structlog.get_logger()

    def on_lost(lost: Sequence[str]) -> None:
        log.warning("sessions of a gateway that died were closed", lost=len(lost))

    def on_reclaimed(sessions: Sequence[str]) -> None:
        log.warning(
            "others took this process for dead while it could not reach the store; its sessions "
            "are open again",
            sessions=len(sessions),
        )

    def on_mismatch(other: str, setting: str) -> None:
        log.warning(
            "another gateway on this store has another value here: what one of them signs is not accepted "
            "where the other is trusted; give all of them the same",
            setting=setting,
            other=other,
        )

    heartbeat = Heartbeat(
        database,
        find_instances_folder(settings.data_dir),
        instance,
        live=registry.list_ids,
        on_lost=on_lost,
        on_reclaimed=on_reclaimed,
        on_problem=lambda problem: on_problem("heartbeat", problem),
        on_mismatch=on_mismatch,
        marks=_make_marks(settings),
    )
    heartbeat.announce()
    heartbeat.start()
    return heartbeat


def _make_marks(settings: Settings) -> dict[str, str]:
    """Return, by setting, the values that all gateways of a store must share. Raises StagedoorError."""
    return {
        "keys.user_ca_file": _hash_key_line(read_user_ca(settings)),
        "keys.host_ca_file": _hash_key_line(read_host_ca(settings)),
        "keys.principal_prefix": settings.keys.principal_prefix or "",
    }


def _hash_key_line(line: str) -> str:
    key = parse_public_key(line)
    assert not isinstance(key, KeyRefused), "our own keys are of a kind that we take"
    return key.fingerprint
