"""The settings file: its types and defaults, the reason for each, and how a mistake in it is told.

No other package parses settings. Nothing here opens a socket, a store or a key.
"""
