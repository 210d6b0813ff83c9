"""The developer's side that needs the installed package: `stagedoor attach` and `stagedoor ssh-config`.

No part of the gateway may be imported here: no flow, no stage, no store, no CA's private key. What needs the
standard library alone is in `laptop`.
"""
