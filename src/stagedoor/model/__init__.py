"""The vocabulary of the gateway: plain values that every other package shares.

Nothing here does I/O, reads a clock or imports another part of Stagedoor. A value that needs a socket,
a table or a random number belongs elsewhere.
"""
