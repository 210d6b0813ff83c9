"""Raw sockets: this package listens, resolves, dials and speaks TLS, and no other does.

It hands out `TcpStream` and `TlsStream`, which the listeners read and write on the event loop
(`net.aio`) before they pass them to the relay. HTTP, policy on names and the bytes of a tunnel stay
outside, and so does the choice of addresses that may be dialled (`shells.address` decides that).
"""
