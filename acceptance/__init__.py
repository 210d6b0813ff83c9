"""Checks of a running installation by real clients: stock ssh clients, Chromium, kubectl.

Used by the tests, the benchmarks and `script/demo --check`. It needs a checkout, and is in no wheel.
"""
