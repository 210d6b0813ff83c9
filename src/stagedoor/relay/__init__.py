"""The relay: moves the bytes of thousands of tunnels, in one thread for each process.

There are two ways: *splice*, if both ends are plain TCP (the kernel moves what is large), and *pump*, if one
is TLS (bytes pass through our memory). Neither interprets them.

The relay gets open ends (`net` makes sockets and TLS). It knows no names, identities or policy, and waits for
nothing but these ends.
"""
