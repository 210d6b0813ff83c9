"""Codecs: the bytes that arrive on a wire as values, and values as the bytes of the answer.

A codec takes bytes that an attacker may have chosen, and returns a value or one documented refusal. It
never raises because of them, and its cost is linear in their length. No I/O, clock, randomness or
policy enters this package: other packages decide what a client may do.
"""
