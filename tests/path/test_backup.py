"""A backup that is taken while people are inside, restored elsewhere: they log in there."""

from pathlib import Path

from stagedoor.store.journal import read_entries
from stagedoor.store.sessions import list_sessions
from tests.fixtures.gateway import Gateway
from tests.path.faulty import LISTEN, serving
from tests.ports import free_port


def test_a_backup_of_a_gateway_at_work_is_restored_elsewhere_and_lets_people_in(
    tmp_path: Path,
) -> None:
    safe = tmp_path / "safe"
    safe.mkdir()
    (tmp_path / "here").mkdir()
    with serving(tmp_path / "here") as gateway:
        recordings = gateway.data_dir / "recordings"
        recordings.mkdir(mode=0o700, exist_ok=True)
        (recordings / "one.cast").write_text("{}\n")
        with gateway.entered() as inside:
            for _ in range(2):  # the second night
                printed = gateway.command("store", "backup", str(safe))
                file = Path(printed.stdout.strip())
                refused = gateway.command("store", "restore", str(file), "--force", check=False)
                assert refused.returncode == 2
                assert "a gateway runs on" in refused.stderr
                inside.works()
                file.rename(safe / "backup.tar.gz")
        assert file.parent == safe
        assert (safe / "backup.tar.gz").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in safe.iterdir()] == ["backup.tar.gz"]
        there = tmp_path / "there"
        there.mkdir()
        port = free_port()
        settings = gateway.file.read_text().replace(str(gateway.data_dir), str(there / "data"))
        settings = settings.replace(LISTEN.format(port=gateway.own_port), LISTEN.format(port=port))
        with Gateway(there) as other:
            other.file.write_text(settings)
            other.command("store", "restore", str(safe / "backup.tar.gz"))
            for name in ("user_ca", "host_ca"):
                key = other.data_dir / "keys" / name
                assert key.read_bytes() == (gateway.data_dir / "keys" / name).read_bytes()
                assert key.stat().st_mode & 0o777 == 0o600
            assert (other.data_dir / "recordings/one.cast").read_text() == "{}\n"
            assert other.data_dir.stat().st_mode & 0o777 == 0o700
            other.start()
            before, gateway.own_port = gateway.own_port, port
            assert gateway.ask() == 200
            gateway.own_port = before
            with other.service() as service:
                lost = [
                    session
                    for session in list_sessions(service.database, open_only=False)
                    if session.end
                ]
                events = read_entries(service.database, limit=1000)
            # A session that was open when the backup was taken is not open here.
            assert "lost" in [session.end for session in lost]
            actions = [entry.event.fields.get("action") for entry in events]
            assert (actions.count("store.backup"), actions.count("store.restore")) == (2, 1)
