"""The WebShell: terminals over WebSocket, for browsers and for `stagedoor attach`.

Whoever comes shows a ticket in his first frame, and the flow lets him in as on every other way. The
gateway carries frames of the terminal protocol between him and the holder in the shell; it keeps
nothing of a terminal itself, so that a restart of it loses nothing.
"""
