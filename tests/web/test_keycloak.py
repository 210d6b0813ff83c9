"""Single sign-on at Keycloak, by `script/test --idp keycloak`: sign-ins that it ends or changes, as in
`test_sso_ends`. It starts in half a minute and takes 600 MiB, so no other run has it."""

from collections.abc import Iterator

import pytest

from tests.oidc.keycloak import Keycloak, running_keycloak
from tests.path.gateway import Gateway
from tests.web import test_sso_ends as ends
from tests.web.test_sso_ends import ENDED, Carol, kept_by_time

pytestmark = pytest.mark.timeout(1200)

web_port, gateway, carol = ends.web_port, ends.gateway, ends.carol
test_groups = (
    ends.test_a_group_that_is_taken_away_there_closes_and_one_given_lets_in_without_a_sign_in
)
test_failures = ends.test_a_provider_that_fails_ends_nothing_and_one_that_refuses_ends_with_a_reason
test_away = (
    ends.test_while_the_provider_is_away_for_long_what_runs_goes_on_and_nothing_new_is_opened
)
test_dump = ends.test_a_dump_of_the_store_has_no_refresh_token


@pytest.fixture(scope="module")
def idp(tmp_path_factory: pytest.TempPathFactory, web_port: int) -> Iterator[Keycloak]:
    back = f"http://127.0.0.1:{web_port}/sign-in/sso"
    attributes = {
        "backchannel.logout.url": f"{back}/logout",
        "backchannel.logout.session.required": "true",
    }
    with running_keycloak(tmp_path_factory.mktemp("keycloak"), back, attributes) as running:
        yield running


@pytest.mark.identity(30)
def test_a_session_that_is_ended_there_ends_here_alone(
    carol: Carol, idp: Keycloak, gateway: Gateway, web_port: int
) -> None:
    session_id = kept_by_time(gateway)[-1]
    other = Carol(idp, web_port)  # type: ignore[arg-type]  # it has what is asked for
    idp.end_session(session_id)
    assert carol.last_word().text == ENDED
    other.works()
    other.terminal.close()
