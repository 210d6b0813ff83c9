"""The endpoint of resumable tunnels on the gateway's machine (docs/decisions/0043-resumable-tunnels.md).

It is a process of its own, which outlives the workers. It keeps the connections to shells' sshds, and each
end of a tunnel as a `wire.tunnel.stream.TunnelStream`. `control` is a worker's side of it.
"""
