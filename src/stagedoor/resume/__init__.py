"""The endpoint of resumable tunnels on the gateway's machine (docs/decisions/0043-resumable-tunnels.md).

The endpoint is a separate process, which outlives the workers. It keeps the connections to shells' sshds, and
the gateway's end of each tunnel as a `wire.tunnel.stream.TunnelStream`. Workers use it through `control`.
"""
