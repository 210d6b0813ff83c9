"""The audit goes elsewhere as well: to real servers and files, through what befalls them."""

import json
import resource
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from stagedoor.audit.chain import NAMESPACE
from stagedoor.audit.verify import Report, verify
from stagedoor.keys.signing import find_signer
from stagedoor.serve.health import Condition, render_metrics, report_readiness
from stagedoor.serve.supervisor import audit_output, sink_writer
from stagedoor.serve.supervisor.audit_output import AuditOutput
from stagedoor.settings.file import parse_settings
from stagedoor.settings.settings import Settings
from stagedoor.store.database import Database, open_database
from stagedoor.store.deliveries import claim, find_first_undelivered, release
from stagedoor.store.journal import StoreJournal, read_entries, read_last_seq
from tests.audit.receivers import http_server, syslog_server
from tests.net.peers import write_certificate
from tests.store.sample import opened
from tests.waiting import wait_until

BATCH = 50


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_output, "TICK_S", 0.05)
    monkeypatch.setattr(sink_writer, "POLL_S", 0.02)
    monkeypatch.setattr(sink_writer, "RETRY_S", (0.02, 0.1))
    monkeypatch.setattr(audit_output, "CHECKPOINT_EVENTS", BATCH)


class Store:
    """A store with a sink in its settings, and what the output says of its troubles."""

    def __init__(self, folder: Path, tables: str) -> None:
        text = f'data_dir = "{folder}/data"\n{tables}'
        self.settings: Settings = parse_settings(text, "test")
        self.database: Database = open_database(self.settings.store_location)
        self.problems: list[tuple[str, str | None]] = []
        self._count = 0

    def write(self, count: int = BATCH) -> None:
        sessions = [opened(f"s-{self._count + n}", at=time.time()) for n in range(count)]
        StoreJournal(self.database).append(sessions)
        self._count += count

    @property
    def last(self) -> int:
        with self.database.read() as transaction:
            return read_last_seq(transaction)

    @contextmanager
    def output(self) -> Iterator[AuditOutput]:
        output = AuditOutput(lambda part, problem: self.problems.append((part, problem)))
        output.apply_settings(self.settings)
        try:
            yield output
        finally:
            output.stop()

    def problems_of(self, part: str) -> list[str]:
        return [problem for name, problem in self.problems if name == part and problem]

    def checkpoints(self) -> int:
        kinds = [entry.event.kind.value for entry in read_entries(self.database, limit=100_000)]
        return kinds.count("audit.checkpoint")

    def close(self) -> None:
        self.database.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    made: list[Store] = []

    def make(tables: str) -> Store:
        made.append(Store(tmp_path, tables))
        return made[-1]

    yield make
    for entry in made:
        entry.close()


def sink(url: str, *more: str, name: str = "siem") -> str:
    return "\n".join(["[[audit.sinks]]", f'name = "{name}"', f'url = "{url}"', *more, ""])


def report(lines: list[str]) -> Report:
    numbered = [("f", number, line.encode()) for number, line in enumerate(lines, 1)]
    return verify(numbered, lambda message, text: find_signer(message, text, NAMESPACE))


def is_whole(lines: list[str], last: int) -> bool:
    """Return whether the chain is there from its beginning up to `last`; that it holds is asserted."""
    result = report(list(lines))
    assert result.fault is None, result.fault
    return result.from_start and result.last >= last


def test_syslog_over_tls_gets_every_line_and_goes_on_after_a_restart(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    with syslog_server(certificate) as server:
        url = f"syslog+tls://localhost:{server.port}"
        here = store(sink(url, f'ca_file = "{certificate[0]}"'))
        here.write()
        with here.output():
            wait_until(lambda: is_whole(server.lines, BATCH + 1))
        here.write(3)
        with here.output():
            wait_until(lambda: is_whole(server.lines, here.last))
        assert report(server.lines).repeated == 0
        assert report(server.lines).confirmed == BATCH
        head = server.heads[0]
        # Facility 10 ("security/authorization") and informational, RFC 5424 §6.2.1.
        assert (head["pri"], head["id"]) == (str(10 * 8 + 6), "session.opened")
        assert here.problems_of("audit sink siem") == []


def test_a_server_without_our_trust_gets_nothing_and_it_is_told_once(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    with syslog_server(write_certificate(tmp_path)) as server:
        here = store(sink(f"syslog+tls://localhost:{server.port}"))
        here.write()
        with here.output() as output:
            wait_until(lambda: server.connections >= 2)
            wait_until(lambda: any(state.failing for state in output.read_states()))
            page = Condition(False, 1, 1, 0, 0, sinks=output.read_states())
        assert server.lines == []
        assert set(here.problems_of("audit sink siem")) == {here.problems_of("audit sink siem")[0]}
        assert "certificate verify failed" in here.problems_of("audit sink siem")[0]
        assert report_readiness(page).status == 200
        assert "audit sink siem fails" in report_readiness(page).text
        assert 'stagedoor_audit_sink_failing{sink="siem"} 1\n' in render_metrics(page, {})


def test_a_connection_that_breaks_costs_no_line(store: Callable[[str], Store]) -> None:
    with syslog_server() as server:
        here = store(sink(f"syslog+tcp://127.0.0.1:{server.port}"))
        server.cut_after = 20_000
        here.write(10 * BATCH)
        with here.output():
            wait_until(lambda: server.connections >= 4)
            server.cut_after = None
            wait_until(lambda: is_whole(server.lines, here.last))


def test_a_server_that_reads_nothing_holds_up_nobody(
    store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_output, "STOP_S", 0.5)
    with syslog_server() as server:
        server.stalls = True
        here = store(sink(f"syslog+tcp://127.0.0.1:{server.port}"))
        here.write(20 * BATCH)
        with here.output() as output:
            wait_until(lambda: server.connections >= 1)
            wait_until(lambda: here.checkpoints() > 0)
            here.write()
            began = time.monotonic()
        assert time.monotonic() - began < 20
        assert output.read_states() == ()


def test_https_gets_batches_and_is_asked_again_until_it_takes_them(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    certificate = write_certificate(tmp_path)
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    token.chmod(0o600)
    with http_server(certificate) as server:
        url = f"https://localhost:{server.server_port}/audit?index=a"
        here = store(sink(url, f'ca_file = "{certificate[0]}"', f'token_file = "{token}"'))
        server.status = 503
        here.write(5 * BATCH)
        with here.output():
            wait_until(lambda: len(server.headers) >= 2)
            server.status = 200
            wait_until(lambda: is_whole(server.lines, here.last))
            wait_until(lambda: here.problems.count(("audit sink siem", None)) == 1)
    assert server.headers[0]["content-type"] == "application/x-ndjson"
    assert server.headers[0]["authorization"] == "Bearer s3cret"
    assert "answered 503" in here.problems_of("audit sink siem")[0]
    assert "index" not in here.problems_of("audit sink siem")[0]
    assert len(server.headers) < 20


def test_a_file_is_whole_through_a_cut_line_a_rotation_and_a_restart(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    file, older = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    here = store(sink(f"file://{file}"))

    def lines() -> list[str]:
        return [
            line
            for output in (older, file)
            if output.exists()
            for line in output.read_text().splitlines()
        ]

    here.write()
    with here.output():
        wait_until(lambda: file.exists() and is_whole(lines(), BATCH + 1))
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("a") as cut:  # a crash in the middle of a line
        cut.write('{"seq": 52, "prev": "12')
    here.write(7)
    with here.output():
        wait_until(lambda: file.read_text().endswith("\n") and is_whole(lines(), here.last))
        file.rename(older)
        here.write(7)
        wait_until(lambda: file.exists() and is_whole(lines(), here.last))
    file.rename(tmp_path / "gone")
    here.write(2)
    with here.output():  # it was renamed while no output ran
        wait_until(lambda: file.exists() and file.read_text().count("\n") >= 2)
    rest = (tmp_path / "gone").read_text() + file.read_text()
    assert report(older.read_text().splitlines() + rest.splitlines()).fault is None
    assert here.problems_of("audit sink siem") == []


def test_a_full_disk_takes_back_the_line_that_it_cut(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    """By RLIMIT_FSIZE, which gives EFBIG at the byte: the store is no file of that size yet."""
    file = tmp_path / "audit.jsonl"
    here = store(sink(f"file://{file}"))
    here.write(10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = (here.settings.data_dir / "stagedoor.db").stat().st_size + 8 * 1024 * 1024
    file.write_bytes(b"x" * (limit - 1000))
    # What is there is no audit, and it is long: it is refused and left as it is.
    with here.output():
        wait_until(lambda: here.problems_of("audit sink siem"))
    assert "something else than the audit" in here.problems_of("audit sink siem")[-1]
    assert file.stat().st_size == limit - 1000
    with file.open("r+b") as big:
        big.seek(limit - 1100)
        big.write(b"\n" + b'{"seq": 1, "prev": "' + b"0" * 64 + b'"}\n')
        big.truncate()
    size = file.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with here.output():
            wait_until(lambda: "cannot be written" in here.problems_of("audit sink siem")[-1])
            assert file.stat().st_size == size
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            wait_until(lambda: file.stat().st_size > limit)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    with file.open("rb") as big:
        big.seek(size)
        texts = big.read().decode().splitlines()
    assert [json.loads(text)["seq"] for text in texts][:9] == list(range(2, 11))


def test_events_are_removed_once_every_sink_has_them_and_the_chain_goes_on(
    store: Callable[[str], Store], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    tables = sink(f"file://{first}", name="first") + sink(f"file://{second}", name="second")
    here = store(f"[audit]\nkeep_days = 1\n{tables}")
    old = [opened(f"old-{n}", at=time.time() - 90_000) for n in range(BATCH)]
    StoreJournal(here.database).append(old)
    here.write(10)
    second.mkdir()  # one of them cannot have them
    with here.output():
        wait_until(lambda: first.exists() and is_whole(first.read_text().splitlines(), 60))
        wait_until(lambda: here.problems_of("audit sink second"))
        assert read_entries(here.database, limit=1)[0].seq == 1
        second.rmdir()
        wait_until(lambda: second.exists() and is_whole(second.read_text().splitlines(), 60))
    with here.output():  # it looks hourly, and at the start
        wait_until(lambda: read_entries(here.database, limit=1)[0].seq == BATCH + 1)
        wait_until(lambda: '"audit.removed"' in first.read_text())
        here.write(BATCH)
        wait_until(lambda: is_whole(first.read_text().splitlines(), here.last))
    # A sink that is new begins with what there is.
    third = store(sink(f"file://{tmp_path}/third", name="third"))
    with third.output():
        wait_until(lambda: (tmp_path / "third").exists())
        wait_until(lambda: report((tmp_path / "third").read_text().splitlines()).last == here.last)
    result = report((tmp_path / "third").read_text().splitlines())
    assert (result.fault, result.first, result.from_start) == (None, BATCH + 1, False)
    assert result.confirmed > 0


def test_a_store_that_was_changed_is_told_of(store: Callable[[str], Store]) -> None:
    here = store("")
    here.write()
    with here.output():
        wait_until(lambda: here.checkpoints() == 1)
        assert here.problems_of("audit output") == []
    with closing(sqlite3.connect(here.settings.data_dir / "stagedoor.db")) as raw, raw:
        raw.execute("UPDATE audit_events SET identity = 'mallory' WHERE seq = 7")
    with here.output():
        wait_until(lambda: here.problems_of("audit output"))
    assert (
        "before seq 51 are not those that its checkpoint signs"
        in here.problems_of("audit output")[0]
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_one_of_several_gateways_delivers(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        here, server = None, tmp_path / "stagedoor.db"
    else:
        here = request.getfixturevalue("postgresql")
        server = here.filled()
    database = open_database(server)
    try:
        assert claim(database, 1, now=1000.0, for_s=60)
        assert claim(database, 1, now=1050.0, for_s=60)
        assert not claim(database, 2, now=1059.0, for_s=60)
        assert not claim(database, 2, now=1109.0, for_s=60)
        assert claim(database, 2, now=1121.0, for_s=60)
        release(database, 1)
        assert not claim(database, 1, now=1122.0, for_s=60)
        release(database, 2)
        assert claim(database, 1, now=1122.0, for_s=60)
        assert find_first_undelivered(database, ("a",)) is None
        StoreJournal(database).append([opened("s1", at=77.0)])
        assert find_first_undelivered(database, ("a",)) == 77.0
    finally:
        database.close()
        if here is not None:
            here.drop(server)


def test_no_file_is_written_through_a_link(store: Callable[[str], Store], tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine\n")
    (tmp_path / "audit.jsonl").symlink_to(target)
    here = store(sink(f"file://{tmp_path}/audit.jsonl"))
    here.write(1)
    with here.output():
        wait_until(lambda: here.problems_of("audit sink siem"))
    assert target.read_text() == "mine\n"
