"""Pictures of full-screen programs in the WebShell for review: mc, vim and tmux in several appearances."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from acceptance.chromium import BrowserError, Tab


@dataclass(frozen=True, slots=True)
class Appearance:
    """A window and its person's preferences.

    `phone` means touch instead of a mouse; `scale` is the number of screen pixels in one CSS pixel.
    """

    name: str
    scheme: str
    width: int
    height: int
    phone: bool = False
    scale: int = 1

    def apply(self, tab: Tab) -> None:
        """Apply the appearance to pages that are loaded afterwards, with a cursor that does not blink."""
        wanted = {"prefers-color-scheme": self.scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        tab.call("Emulation.setEmulatedMedia", features=features)
        tab.call("Emulation.setTouchEmulationEnabled", enabled=self.phone)
        tab.resize(self.width, self.height, scale=self.scale, phone=self.phone)


APPEARANCES = (
    Appearance("light", "light", 1440, 900),
    Appearance("dark", "dark", 1440, 900),
    Appearance("phone", "light", 390, 844, phone=True, scale=2),
    Appearance("phone-dark", "dark", 390, 844, phone=True, scale=2),
)

_LINES = (
    "printf '%s\\n' '# Serves the app.' 'from dataclasses import dataclass' '' '@dataclass' "
    "'class App:' '    name: str = \"你好 ☕\"' '    workers: int = 4  # per core' '' "
    "'    def start(self) -> None:' '        raise NotImplementedError(\"later\")' | "
)
SCENES: dict[str, tuple[str, str]] = {
    "mc": ("exec mc --nosubshell -x /usr/share/mc /etc", "Hint:"),
    "vim": (_LINES + "vim -u NONE -N +'syntax on | set ft=python number ruler' -", "All"),
    "tmux": (
        "PS1='$ '; tmux split-window -h 'top -b -n 1 | head -30; tmux wait-for -S top; cat' \\; split-window "
        "'ls -l --color=always /etc | head -20; tmux wait-for top; echo do''ne 👩‍💻 é你😀─│; cat' "
        "\\; select-pane -L; clear; "
        "printf '\\033[1;3%dm%s\\033[m \\033[4%dmback\\033[m\\n' "
        "1 red 1 2 green 2 3 yellow 3 4 blue 4 5 magenta 5 6 cyan 6",
        "done 👩‍💻",
    ),
}
"""For each scene, the text to type and a text that the screen then shows."""


def take_scenes(tab: Tab, terminal: Callable[[str], str], keep: Callable[[Tab, str], None]) -> None:
    """Take each scene in each appearance. `terminal` returns a URL by name; `keep` writes NAME.png."""
    for appearance in APPEARANCES:
        appearance.apply(tab)
        for name, (typed, shown) in SCENES.items():
            if shutil.which(name) is None:
                print(f"{name} is not installed; no picture of it", flush=True)
                continue
            tab.open(terminal(f"{name}-{appearance.name}"))
            tab.until("document.getElementById('status')?.dataset.state === 'open'")
            tab.until("document.querySelector('.xterm-rows').textContent.includes('[')")
            tab.ask("document.querySelector('.xterm-helper-textarea').focus()")
            tab.type(typed)
            tab.enter()
            # The text is compared as the page draws it, with the gaps of wide characters.
            there = f"document.querySelector('.xterm-rows').textContent.includes({shown!r})"
            try:
                tab.until(there)
            except BrowserError as error:
                seen = tab.ask("document.body.innerText")
                raise BrowserError(
                    f"{name}, {appearance.name}: {error}; the page shows {seen!r}"
                ) from None
            _settle(tab)
            keep(tab, f"{name}-{appearance.name}.png")


def _settle(tab: Tab) -> None:
    """Wait until the screen does not change for 400 ms."""
    rows = "document.querySelector('.xterm-rows').innerHTML"
    tab.until(
        f"(async () => {{ const was = {rows}; await new Promise(done => setTimeout(done, 400));"
        f" return was === {rows}; }})()"
    )
