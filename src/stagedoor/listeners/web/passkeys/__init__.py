"""Passkeys in the browser: registration, signing in, and proofs of presence for apps that demand one."""
