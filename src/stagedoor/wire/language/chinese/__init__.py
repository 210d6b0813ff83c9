"""Chinese (zh-CN) by the English of the code; docs/zh/glossary.md has the terms.

Each module is a part that is read by itself: the gateway's texts, the pages' scripts, and the laptop's programs.
"""
