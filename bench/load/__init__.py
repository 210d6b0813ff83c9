"""Both ends of a load: the upstream that answers, and what knocks at a peer's door.

The greeting is ours: 16 bytes that the downstream sends first tell the upstream what to do. Nothing
here knows which peer stands between.
"""
