"""The WebShell: terminals over WebSocket, for browsers and for `stagedoor attach`.

A client sends a ticket in its first frame, and the flow admits it as by every access method. The gateway
carries frames of the terminal protocol between the client and the holder in the shell. It keeps no terminal
state, so a restart loses nothing.
"""
