"""The gateway's part in runs on Kubernetes: it requests Jobs, approves them, and copies their logs."""
