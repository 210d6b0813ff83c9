"""Checks of a running installation with real clients: stock ssh clients, Chromium, kubectl.

The tests, the benchmarks and `script/demo --check` use it. It needs a checkout, and is in no wheel.
"""
