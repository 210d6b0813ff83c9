"""The benchmarks, one in each module.

Each module has a `TABLE` of its measures and a function `run` that takes them. Load, peers and the
reading of processes are elsewhere; nothing here opens a socket.
"""
