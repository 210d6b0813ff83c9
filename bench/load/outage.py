"""A UDP relay whose network can be away for a while, as `stagedoor.demo.network` is for TCP."""

import contextlib
import select
import socket
import threading

_CHUNK = 64 * 1024


class UdpOutage:
    """A relay from `port` of 127.0.0.1 to another one, for one client. While it is down, it drops packets."""

    def __init__(self, to: int) -> None:
        self._is_down = self._is_closed = False
        self._near, self._far = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
        self._near.bind(("127.0.0.1", 0))
        self._far.connect(("127.0.0.1", to))
        self.port = int(self._near.getsockname()[1])
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Drop all packets until `restore`."""
        self._is_down = True

    def restore(self) -> None:
        """Relay again."""
        self._is_down = False

    def stop(self) -> None:
        """Close the relay."""
        self._is_closed = True
        self._thread.join()
        self._near.close()
        self._far.close()

    def _pump(self) -> None:
        client = None
        while not self._is_closed:
            for sock in select.select([self._near, self._far], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):  # a packet to a port that nothing reads
                    data, source = sock.recvfrom(_CHUNK)
                    if sock is self._near:
                        client = source
                    if self._is_down:
                        continue
                    if sock is self._near:
                        self._far.send(data)
                    elif client is not None:
                        self._near.sendto(data, client)
