"""The ProxyCommand client, and the connections to the gateway that all of the laptop's programs use.

`stagedoor tunnel --print-script` prints this folder as one file, so its modules import only the standard
library and each other. `main` runs the command, `enter` opens the tunnel, and `relay` copies ssh's bytes.
stdout carries only the tunnel's bytes. Each error is one line on stderr and a distinct exit code
(`errors.EXITS`).
"""
# Every ssh waits for these modules. Importing pathlib and contextlib would double the import time.
