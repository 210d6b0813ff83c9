"""Both ends of a load: the upstream that answers, and the downstream that connects to a peer.

The greeting is our own protocol: the first 16 bytes from the downstream instruct the upstream. Nothing
here depends on the peer in between.
"""
