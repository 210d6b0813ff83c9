"""`stagedoor demo` of an installed wheel, which has no drivers of clients."""

import pytest

from stagedoor.cli.app import stagedoor
from stagedoor.model.errors import RefusedError


@pytest.mark.parametrize("words", [["--check"], ["--kubernetes"], ["--check", "--json"]])
def test_what_needs_a_checkout_says_so_and_what_to_run_there(words: list[str]) -> None:
    with pytest.raises(RefusedError, match=rf"in a checkout.*: script/demo {' '.join(words)}$"):
        stagedoor.main(["demo", *words], standalone_mode=False)
