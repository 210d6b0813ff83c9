import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagedoor.model.errors import SettingsError
from stagedoor.settings.file import parse_settings
from stagedoor.settings.store_location import StoreServer, check_server_url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://stagedoor@db.example.com/stagedoor",
        "postgres://stagedoor@db.example.com:5433/stagedoor?sslmode=verify-full",
        "postgresql://role@%2Frun%2Fpostgresql/stagedoor",
        "postgresql://role@[::1]:5432/stagedoor",
        "postgresql://a@h1:1,h2:2/stagedoor?target_session_attrs=read-write&passfile=/etc/x",
        "postgresql:///stagedoor?host=/run/postgresql&user=stagedoor",
        "postgresql://h1:5432/stagedoor",
    ],
)
def test_what_libpq_takes_is_taken(url: str) -> None:
    check_server_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://stagedoor:hunter2@db/stagedoor",
        "postgresql://stagedoor:@db/hunter2",
        "postgresql://db/x?password=hunter2",
        "postgresql://db/x?sslmode=require&PassWord=hunter2",
        "postgresql://db/x?p%61ssword=hunter2",
        "postgresql://db/x?sslpassword=hunter2",
        "host=db password=hunter2",
        "mysql://db/hunter2",
        "postgresql://db/x hunter2",
        "postgresql://db/x\nhunter2",
        "postgresql://a:hunter2#@db/x",
        "postgresql://[hunter2/x",
        "hunter2",
        "",
    ],
)
def test_a_password_or_nonsense_is_refused_and_never_repeated(url: str) -> None:
    with pytest.raises(ValueError) as e:  # noqa: PT011 - which message it has is the point
        check_server_url(url)
    assert "hunter2" not in str(e.value)
    with pytest.raises(SettingsError) as refused:
        parse_settings(f"[store]\nurl = {url!r}\n".replace("'", '"'), "f.toml")
    assert "hunter2" not in str(refused.value)


@given(st.text(max_size=60), st.booleans())
def test_any_text_is_taken_or_refused_with_one_error(text: str, whole: bool) -> None:
    url = text if whole else f"postgresql://{text}"
    with contextlib.suppress(ValueError):
        check_server_url(url)
        assert str(StoreServer(url)) == url.partition("?")[0]


def test_the_settings_say_where_the_store_is() -> None:
    assert parse_settings('data_dir = "/d"', "f").store_location == Path("/d/stagedoor.db")
    text = '[store]\nurl = "postgresql://r@h/d?sslmode=require"\npassword_file = "/p"\n'
    location = parse_settings(text, "f").store_location
    assert location == StoreServer("postgresql://r@h/d?sslmode=require", Path("/p"))
    assert str(location) == "postgresql://r@h/d"
    with pytest.raises(SettingsError, match=r"password_file needs store\.url"):
        parse_settings('[store]\npassword_file = "/p"\n', "f")
