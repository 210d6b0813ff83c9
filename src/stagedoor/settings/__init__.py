"""The settings file: its types, its defaults with their reasons, and the messages about mistakes in it.

No other package parses settings. Nothing here opens a socket, a store or a key.
"""
