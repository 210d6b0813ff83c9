"""A check that the head of an HTTP/1.1 request is unambiguous.

If a proxy in front of the gateway reads a head differently, it can be made to take one request for two
(request smuggling). So any head that two programs could read differently is refused. Sources: RFC 9112
§2.2 (bare LF and CR), §5.2 (folded lines), §6.1 and §6.3 (a length and a transfer coding), §3.2 (Host).
"""

import re

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_FOLDED = re.compile(rb"\n[ \t]")
_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [!-~]+ HTTP/1\.[01]\Z")
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"
_ONCE = (_LENGTH, _CODING, b"host")


def find_fault(received: bytes) -> str | None:
    """Return the fault of the head at the start of `received`, or None if it has none so far.

    An incomplete head is judged by the part that has arrived. Bytes after the head are ignored. The
    HTTP parser still has to check everything else.
    """
    head, end, _ = received.partition(b"\r\n\r\n")
    if _BARE.search(head) or (end and head.endswith(b"\r")):
        return "a line of the header ends in LF or CR alone, and not in CR LF"
    if _FOLDED.search(head):
        return "a line of the header is folded: it begins with a space or a tab"
    return _find_fault_in_fields(head) if end else None


def _find_fault_in_fields(head: bytes) -> str | None:
    line, *fields = head.split(b"\r\n")
    if not _REQUEST_LINE.match(line):
        return "the first line is no METHOD PATH HTTP/1.1"
    names = [field.partition(b":")[0].lower() for field in fields]
    for name in _ONCE:
        if names.count(name) > 1:
            return f"there is more than one {name.decode()}"
    if _CODING in names and _LENGTH in names:
        return "there is a content-length and a transfer-encoding"
    if _CODING in names and line.endswith(b"0"):
        return "there is a transfer-encoding in HTTP/1.0"
    return None
