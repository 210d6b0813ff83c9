"""How tmux is started in a terminal: what it is told of our ends of the line, and defaults of ours. Pure.

Sources: tmux(1), its `-f`, `-T` and terminal-features.
"""

ASKED = ("tmux", "tmux mouse")
"""The commands that ask for tmux where there is one, and for the login shell elsewhere."""
TERM = "tmux-256color"
FEATURES = (
    "256,RGB,sync,clipboard,usstyle,overline,strikethrough,extkeys,focus,title,mouse,bpaste,"
    "hyperlinks"
)
"""What our ends of the line can do. tmux cannot ask: without this it takes colours and more away. It
stops reading at a name that it does not know, so the newest is the last (`hyperlinks`: tmux 3.4)."""
_OPTIONS = """\
set -s escape-time 10
set -s focus-events on
set -s set-clipboard on
set -g history-limit 50000
set -g mouse on
set -g status-left-length 43
"""
"""`escape-time` is in ms: with tmux's own 500 each Escape in vim takes half a second. The last line has
room for a terminal's name of 40 characters, where tmux cuts it after 8."""
_COLOURS = f"set -g default-terminal {TERM}\n"
"""tmux's own has 8 colours."""
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
"""The files that tmux reads by itself, but not with `-f`. They are read last, so they win."""


def words(terminal: str, defaults: str) -> list[str]:
    """The command that shows the session called as the terminal; `defaults` is the path for `-f`."""
    start = ["-f", defaults, "new-session", "-A", "-s", terminal]
    return ["tmux", "-u", "-T", FEATURES, *start]


def defaults(*, described: bool) -> str:
    """The file for `-f`. `described`: terminfo(5) here describes TERM."""
    return _OPTIONS + (_COLOURS if described else "") + _FILES
