"""Bytes and text to values and back: what arrives on a wire, and what we answer on it.

A codec takes bytes that an attacker may have chosen and returns a value or one documented refusal;
it never raises because of them, and costs time in proportion to their length. No I/O, no clock, no
randomness and no policy ever enter here: whether somebody may is another storey's question.
"""
