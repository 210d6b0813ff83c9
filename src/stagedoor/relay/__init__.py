"""The relay: moves the bytes of thousands of tunnels, in one thread for each process.

Two named paths: *splice* (both ends are plain TCP; the kernel moves what is large) and *pump* (TLS,
and machines without splice; we see the bytes). Neither reads meaning into them.

What may never enter: a socket or TLS made here (`net` does that; the relay is handed ends that are
open), names, identities, policy, or anything that waits for something else than these ends.
"""
