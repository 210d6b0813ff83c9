"""The ProxyCommand client, and the connections to the gateway that all of the laptop's programs use.

`stagedoor tunnel --print-script` prints this folder as one file, so its modules import only the standard
library and each other: `main` runs the command, `enter` opens the tunnel, and `relay` carries ssh's bytes.
stdout carries the tunnel and nothing else; each error is one line on stderr and a distinct exit code (see
`errors.EXITS`).
"""
# Every ssh waits for these modules. Importing pathlib and contextlib would double the time of all imports.
