"""The client commands that need the installed package, such as `stagedoor attach`, `run` and `ssh-config`.

This package imports no part of the gateway: no flow, no stage, no store, no CA's private key. The programs
that need only the standard library are in `laptop`.
"""
