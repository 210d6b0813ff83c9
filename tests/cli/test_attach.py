"""`stagedoor attach`: what it says of itself before it reaches any gateway."""

from click.testing import CliRunner

from stagedoor.cli.app import stagedoor


def told(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(stagedoor, ["attach", *words])
    return done.exit_code, done.output


def test_an_address_that_is_not_of_the_web_is_named_as_it_was_given() -> None:
    code, text = told("--url", "ftp://gw", "app01", "--", "true")
    assert code == 2
    assert "'ftp://gw' is no web address: it begins with https:// or http://" in text


def test_its_exit_codes_are_those_of_the_program_but_for_its_own() -> None:
    code, text = told("--help")
    assert code == 0
    assert "255  this program itself failed" in text
    assert "there already" not in text
