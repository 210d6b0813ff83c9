"""Raw sockets. Only this package listens, resolves, dials and speaks TLS.

It hands out `TcpStream` and `TlsStream`, which the listeners read and write on the event loop (`net.aio`)
before they pass them to the relay. It contains no HTTP, no policy on names, and does not choose which
addresses may be dialled (`shells.address` does).
"""
