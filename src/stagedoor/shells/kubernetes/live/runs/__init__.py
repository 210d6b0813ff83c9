"""The gateway's part in runs on Kubernetes: it requests a Job, approves it, and copies its log."""
