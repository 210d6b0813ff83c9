"""Runs on Kubernetes as a gateway has them: it asks for a Job, approves it, and copies its log."""
