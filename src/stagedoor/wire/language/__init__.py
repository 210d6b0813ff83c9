"""The languages that developers read: English, as it stands in the code, and Chinese.

`chinese` maps each English text to its Chinese one. See docs/decisions/ on how a text is added.
"""
