"""Which command holds terminals: for our own shells one that no user can choose, for others what is set."""

import pytest

from stagedoor.model.errors import StagedoorError
from stagedoor.model.target import Target
from stagedoor.serve.parts.shells import HERE, IN_THE_KIT, make_holder_finder
from stagedoor.settings.file import parse_settings

SETTINGS = """
[kubernetes]
namespaces = { "" = "apps", "staging" = "apps-staging" }
[[shells.local]]
app = "local"
[[shells.static]]
app = "server"
host = "server.example"
holder = "python3 -m stagedoor.holder"
[[shells.static]]
app = "other"
environment = "staging"
host = "other.example"
"""


def test_every_kind_of_shell_has_its_own_command() -> None:
    holder = make_holder_finder(parse_settings(SETTINGS, "x"))
    assert holder(Target("local")) == HERE
    assert holder(Target("app01")) == IN_THE_KIT
    assert holder(Target("app01", "staging")) == IN_THE_KIT
    assert holder(Target("server")) == ["python3", "-m", "stagedoor.holder"]


def test_a_server_of_which_none_is_told_has_none() -> None:
    holder = make_holder_finder(parse_settings(SETTINGS, "x"))
    assert holder(Target("other", "staging")) is None
    assert holder(Target("app01", "production")) is None


@pytest.mark.parametrize("command", ["", " ", "'open"])
def test_what_is_no_command_is_refused(command: str) -> None:
    text = f'[[shells.static]]\napp = "a"\nhost = "h"\nholder = "{command}"\n'
    with pytest.raises(StagedoorError, match="holder"):
        parse_settings(text, "x")
