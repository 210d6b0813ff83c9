"""The only place for raw sockets: it listens, resolves, dials, and speaks TLS.

What leaves it are `TcpStream` and `TlsStream`, which the listeners read and write on the event
loop (`net.aio`) and then hand to the relay. What may never enter: HTTP, names and their policy,
which addresses may be dialled (`shells.address` says that), or the moving of a tunnel's bytes.
"""
