"""The codecs of HTTP: CONNECT requests, header fields, WebSockets and metrics."""
