"""`stagedoor status` where no gateway runs; with one: tests/path/test_metrics.py."""

from tests.cli.conftest import Desk


def test_without_a_gateway_it_says_what_there_is_and_exits_with_2(alice: Desk) -> None:
    done = alice.run("status")
    assert isinstance(done.exception, SystemExit)
    assert done.exception.code == 2
    assert "stagedoor.db, answers in " in done.stdout
    assert "fail: no gateway runs on this machine" in done.stdout


def test_without_a_store_it_makes_none(desk: Desk) -> None:
    done = desk.run("status")
    assert "fail: there is no store in" in done.stdout or "no store" in done.stdout
    assert not desk.data_dir.exists()
