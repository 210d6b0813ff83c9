"""Old output made fit to be shown again: what would ask the new screen something is left out.

A terminal answers queries as if its user had typed the answer. Replayed to somebody who comes
later, they would be answered a second time, into whatever runs by then.

Sources: ECMA-48 §8.3; "XTerm Control Sequences" (ctlseqs).
"""

import re

_ASKING = re.compile(
    rb"\x1b(?:"
    rb"\[[?>=<]?[0-9;:]*[ -/]*[cntx]"  # DA, DSR, XTWINOPS, DECREQTPARM
    rb"|\[[?>=<]?[0-9;:]*\$p"  # DECRQM
    rb"|\[>[0-9;]*q"  # XTVERSION
    rb"|\[\?u"  # the keyboard's flags
    rb"|\](?!8;)[^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC but for links: titles, colours, the clipboard
    rb"|[P_^X][^\x1b]*\x1b\\"  # DCS, APC, PM, SOS
    rb"|Z"  # DECID
    rb")|\x05"  # ENQ
)


def replayable(data: bytes) -> bytes:
    """`data` without queries, clipboard writes, titles, images and device strings."""
    return _ASKING.sub(b"", data)


def whole_lines(data: bytes) -> bytes:
    """`data` from the first beginning of a line in it; nothing where there is none.

    So no character or control sequence is begun in its middle.
    """
    return data[data.find(b"\n") + 1 :] if b"\n" in data else b""
