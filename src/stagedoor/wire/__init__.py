"""Codecs, which turn received bytes into values, and values into the bytes of an answer.

A codec gets bytes that an attacker may have chosen, and returns a value or a documented refusal. Input never
makes it raise, and its cost is linear in the length of the input. No I/O, clock, randomness or policy enters
this package: other packages decide what a client may do.
"""
