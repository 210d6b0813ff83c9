"""The WebShell: terminals over WebSocket, for browsers and for `stagedoor attach`.

A client shows a ticket in its first frame, and the flow admits it as for every access method. The
gateway carries frames of the terminal protocol between it and the holder in the shell; it keeps
nothing of a terminal itself, so that a restart of it loses nothing.
"""
