"""`stagedoor-get` in a container's shell: what it writes to the terminal, with tmux in between or not."""

import pytest

from tests.kit.conftest import Make
from tests.kit.terminal import Terminal

pytestmark = pytest.mark.timeout(600)  # the first makes the images, and others wait for them


@pytest.mark.parametrize("image", ["busybox", "debian-12", "distroless"])
def test_a_file_is_offered_to_the_terminal(make: Make, image: str) -> None:
    container = make(image).start()
    with Terminal(container, term="xterm-256color") as terminal:
        terminal.type("cd /kit && stagedoor-get share/../tmux.conf none; echo co''de=$?")
        offer = f"\x1b]1337;StagedoorGet={b'/kit/tmux.conf'.hex()}\x07"
        terminal.expect(offer)
        terminal.expect("there is no none")
        terminal.expect("code=1")
        terminal.type("tmux new -s work")
        terminal.expect("[work]")
        terminal.type("stagedoor-get tmux.conf; echo co''de=$?")
        terminal.expect(offer)
        terminal.expect("code=0")
        terminal.type("echo through=$(tmux show-options -Apv allow-passthrough)")
        terminal.expect("through=off")
