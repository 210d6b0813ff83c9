"""Speak with the node's first process."""

import socket

from tests.cluster.fault import ClusterError
from tests.cluster.place import Place


def order(place: Place, line: str) -> str:
    """Give the node's first process an order (`node.py` says which); its answer.

    Raises:
        ClusterError: no cluster runs there, or it refused.
    """
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(60)
        try:
            asked.connect(str(place.control_socket))
            asked.sendall(line.encode())
            answer = asked.recv(65536).decode()
        except OSError as error:
            raise ClusterError(
                f"no cluster runs in {place.state} ({error}); script/cluster up"
            ) from None
    word, _, rest = answer.partition(" ")
    if word != "ok":
        raise ClusterError(rest)
    return rest
