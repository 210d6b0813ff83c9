"""The second stage, authorisation: may this identity enter this target? It answers from memory, at once.

This package does not know how users prove who they are or where rules are stored, and waits for nothing.
"""
