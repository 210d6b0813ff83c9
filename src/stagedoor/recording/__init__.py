"""Recordings of terminals: asciicast files, written as it happens, durable in pieces.

Which sessions are recorded is decided elsewhere; what is seen and typed comes in as
bytes and times. What may never enter: a protocol, a policy, a socket, a clock that is not an
argument, and anything typed that the shell did not echo.

`recorder` holds the writer's thread, `ports` says where it writes to, `folder` is the place on this
machine's disk, `playback` shows what was written, and `retention` removes what is old.
"""
