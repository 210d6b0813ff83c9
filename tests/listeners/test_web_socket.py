"""Messages in parts: how many there may be, and of what."""

from websockets.frames import Frame, Opcode

from stagedoor.listeners.web.websocket import WebSocketProtocol


def test_parts_without_data_are_not_collected() -> None:
    """Their number is bounded by nothing: a message's length is, and they add none."""
    protocol = WebSocketProtocol.__new__(WebSocketProtocol)  # as it is in the middle of a message
    protocol.frames = [b"a"]
    for data in (b"", b"b", *[b""] * 1000, b"c"):
        protocol.handle_cont(Frame(Opcode.CONT, data, fin=False))
    assert protocol.frames == [b"a", b"b", b"c"]
