"""Old output, made fit to be shown again by removing queries.

A terminal answers queries as if its user had typed the answer. If old output had them, the terminal of a
later client would answer them again, to the program that runs by then.

Sources: ECMA-48 §8.3; "XTerm Control Sequences" (ctlseqs).
"""

import re

_QUERY = re.compile(
    rb"\x1b(?:"
    rb"\[[?>=<]?[0-9;:]*[ -/]*[cntx]"  # DA, DSR, XTWINOPS, DECREQTPARM
    rb"|\[[?>=<]?[0-9;:]*\$p"  # DECRQM
    rb"|\[>[0-9;]*q"  # XTVERSION
    rb"|\[\?u"  # the keyboard's flags
    rb"|\](?!8;)[^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC except links: titles, colours, the clipboard
    rb"|[P_^X][^\x1b]*\x1b\\"  # DCS, APC, PM, SOS
    rb"|Z"  # DECID
    rb")|\x05"  # ENQ
)


def replayable(data: bytes) -> bytes:
    """Return `data` without queries, clipboard writes, titles, images and device strings."""
    return _QUERY.sub(b"", data)


def whole_lines(data: bytes) -> bytes:
    """Return `data` after its first newline, or nothing if it has none.

    The result does not begin in the middle of a character or control sequence.
    """
    return data[data.find(b"\n") + 1 :] if b"\n" in data else b""
