"""Persons who are removed at Dex, by `script/test --idp dex`. The first run builds it, in some minutes."""

from functools import partial
from pathlib import Path

import pytest

from tests.admin.provider_services import provider_services
from tests.identity_providers.dex import running_dex

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.identity(29)
async def test_a_person_who_is_removed_there_is_out_at_its_second_answer(tmp_path: Path) -> None:
    """It is started again without carol, and so knows no refresh token any more.

    Its storage in memory waits for itself for good at a refresh that holds, so none is tried.
    """
    with (
        running_dex(tmp_path, "http://127.0.0.1:1/sign-in/sso", "carol", "dave") as dex,
        provider_services(tmp_path, Dex=dex) as services,
    ):
        await services.sign_in_by("Dex", partial(dex.sign_in, name="carol"))
        dex.stop()
        await services.refresh_all()
        assert len(services.lasting()) == 1, "it is away"
        dex.persons = ("dave",)
        dex.start()
        await services.refresh_all()
        [record] = services.lasting()
        assert record.failure == "the token endpoint answered 400, invalid_request"
        await services.refresh_all()
        assert services.lasting() == []
        await services.sign_in_by("Dex", partial(dex.sign_in, name="dave"))
        assert [record.sign_in.name for record in services.lasting()] == ["dave"]
