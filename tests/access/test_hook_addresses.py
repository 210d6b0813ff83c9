"""The addresses to which a hook connects: the attacks first."""

import pytest

from stagedoor.model.errors import SettingsError, StagedoorError
from tests.access.test_hooks import HERE, open_hook, read, server, settings_of, url_of
from tests.access.test_requests import Desk, desk
from tests.audit.receivers import HttpServer, http_server

__all__ = ["desk", "server"]


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost."),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("0", "0.0.0.0", "[::]", "169.254.169.254", "[fe80::1%25lo]"),
    ],
)
def test_no_form_of_an_address_leads_a_hook_into_our_own_network(
    desk: Desk, server: HttpServer, host: str
) -> None:
    desk.make(desk.rule())
    try:
        settings = settings_of(desk, f"http://{host}:{server.server_port}/hook")
    except SettingsError:
        return
    with pytest.raises(StagedoorError):
        open_hook(desk, settings).send(read(desk))
    assert server.headers == []


def test_a_hook_follows_no_redirect(desk: Desk, server: HttpServer) -> None:
    desk.make(desk.rule())
    with http_server() as first:
        for first.status in (301, 302, 303, 307, 308):
            first.location = url_of(server)
            with pytest.raises(StagedoorError, match=f"it answered {first.status}"):
                open_hook(desk, settings_of(desk, url_of(first), HERE)).send(read(desk))
        assert len(first.headers) == 5
    assert server.headers == []


def test_a_second_answer_of_the_name_server_leads_a_hook_nowhere(
    desk: Desk, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was checked is the one that is connected to."""
    answers = iter([["127.0.0.2"]])
    monkeypatch.setattr("stagedoor.net.resolve._look_up", lambda host: next(answers))
    desk.make(desk.rule())
    url = f"http://localhost:{server.server_port}/hook"  # the system says 127.0.0.1
    with pytest.raises(StagedoorError):
        open_hook(desk, settings_of(desk, url, 'networks = ["127.0.0.2/32"]')).send(read(desk))
    assert next(answers, None) is None, "it was looked up"
    assert server.headers == []
