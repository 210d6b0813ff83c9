"""The relay, which moves the bytes of thousands of tunnels in one thread per process.

There are two ways: *splice*, if both ends are plain TCP (the kernel moves large transfers), and *pump*, if
one of them is TLS (bytes pass through our memory). Neither interprets the bytes.

The relay gets streams that are already open (`net` makes sockets and TLS). It knows no names, identities or
policy, and waits for nothing but these streams.
"""
