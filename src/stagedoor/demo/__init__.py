"""`stagedoor demo`: a gateway with two apps on one machine. Its check is in `acceptance/`.

The demo makes the same calls as the commands with which an administrator sets up an installation.
"""
