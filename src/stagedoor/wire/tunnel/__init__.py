"""The protocol of resumable tunnels: its frames, and the state of one end."""
