"""Recordings of terminals: asciicast files, written while the terminal is used, durable in pieces.

`recorder` has the thread that writes, `asciicast_file` one file, `folder` the files on this machine's disk;
`retention` removes old ones. `channel_audit` writes a channel's events to the audit, and starts no recording:
the rules decide elsewhere which sessions are recorded. No protocol, policy or socket enters this package.
"""
