"""What the words mean: plain values that every storey of the house speaks in.

Nothing here does I/O, reads a clock or imports another part of Stagedoor. If a word needs a
socket, a table or a random number to be explained, it belongs elsewhere.
"""
