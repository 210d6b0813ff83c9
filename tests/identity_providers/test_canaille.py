"""Persons who are removed at Canaille, by `script/test --idp canaille`. The first run installs it."""

from functools import partial
from pathlib import Path

import pytest

from tests.admin.provider_services import provider_services
from tests.identity_providers.canaille import running_canaille

pytestmark = pytest.mark.timeout(600)


@pytest.mark.identity(29)
async def test_a_person_who_is_removed_there_is_out_at_its_second_answer(tmp_path: Path) -> None:
    """Canaille gives equal tokens within a second, and so may answer 500 once to dave, who stays."""
    with (
        running_canaille(tmp_path, "http://127.0.0.1:1/sign-in/sso", "carol", "dave") as canaille,
        provider_services(tmp_path, Canaille=canaille) as services,
    ):
        for name in ("carol", "dave"):
            await services.sign_in_by("Canaille", partial(canaille.sign_in, name=name))
        await services.refresh_all()
        assert len(services.lasting()) == 2
        canaille.remove_person("carol")
        await services.refresh_all()
        [carol, _] = services.lasting()
        assert carol.failure == "the token endpoint answered 400, invalid_request"
        await services.refresh_all()
        assert [record.sign_in.name for record in services.lasting()] == ["dave"]
