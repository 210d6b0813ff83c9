"""The start of tmux in a terminal: the features of the clients' terminals, and Stagedoor's defaults. Pure.

Sources: tmux(1), its `-f`, `-T` and terminal-features.
"""

COMMANDS = ("tmux", "tmux mouse")
"""The commands that start tmux if it is installed, and the login shell if not."""
TERM = "tmux-256color"
FEATURES = (
    "256,RGB,sync,clipboard,usstyle,overline,strikethrough,extkeys,focus,title,mouse,bpaste,"
    "hyperlinks"
)
"""The features of our clients' terminals. tmux cannot query them, and would remove colours and more.

It stops reading at a name that it does not know, so the newest comes last (`hyperlinks`: tmux 3.4).
"""
_OPTIONS = """\
set -s escape-time 10
set -s focus-events on
set -s set-clipboard on
set -g history-limit 50000
set -g mouse on
set -g status-left-length 43
%if "#{>=:#{version},3.5a}"
set -s extended-keys on
set -s extended-keys-format csi-u
%endif
"""
"""`escape-time` is in ms: with tmux's default of 500 each Escape in vim takes half a second.
`status-left-length` makes room for a terminal's name of 40 characters, which tmux would cut after 8. With
`extended-keys` programs can ask for Shift-Enter; before 3.5 tmux then drops it for all other programs."""
_COLOURS = f"set -g default-terminal {TERM}\n"
"""tmux's default has 8 colours."""
_FILES = """\
source-file -q /etc/tmux.conf
source-file -q "$HOME/.tmux.conf"
source-file -q "$HOME/.config/tmux/tmux.conf"
%if "#{!=:$XDG_CONFIG_HOME,}"
%if "#{!=:$XDG_CONFIG_HOME,$HOME/.config}"
source-file -q "$XDG_CONFIG_HOME/tmux/tmux.conf"
%endif
%endif
"""
"""The files that tmux reads unless it has `-f`. They come last, so their settings win."""


def make_command(terminal: str, defaults: str) -> list[str]:
    """Return the command that shows the session with the terminal's name; `defaults` is the path for `-f`."""
    start = ["-f", defaults, "new-session", "-A", "-s", terminal]
    return ["tmux", "-u", "-T", FEATURES, *start]


def format_defaults(*, described: bool) -> str:
    """Return the content of the file for `-f`. `described`: this machine's terminfo(5) has TERM."""
    return _OPTIONS + (_COLOURS if described else "") + _FILES
