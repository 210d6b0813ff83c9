"""The second stage: may this identity enter this target? Answers from memory, at once.

What may never enter: how a user proved who they are, where rules are stored, any waiting.
"""
