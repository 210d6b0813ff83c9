"""The terminals that the WebShell's benchmarks compare, as rows of their tables."""

OURS = "stagedoor"
SSH = "ssh"
"""OpenSSH at both ends, without a gateway."""
LOGIN = f"{OURS}, ssh app01@"
ATTACH = f"{OURS} attach"
SOCKET = f"{OURS}, socket"
BROWSER = f"{OURS}, browser"
TTYD, TTYD_SOCKET = "ttyd, browser", "ttyd, socket"
GOTTY, WETTY, TERMINADO = "gotty, browser", "wetty, browser", "terminado, browser"
ZELLIJ = "zellij, browser"
WEB_ORDER = (
    *(SSH, LOGIN, ATTACH, SOCKET, TTYD_SOCKET),
    *(BROWSER, TTYD, GOTTY, WETTY, TERMINADO, ZELLIJ, "ttyd"),
)
