"""One file for each question that is asked of the peers.

Each has a `TABLE` that says what it finds and `run(stage)` that finds it. Load, peers and the
reading of processes are elsewhere; nothing here opens a socket.
"""
