"""The log lines of one module, whatever an earlier test in this process has configured."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import structlog
from structlog.testing import capture_logs


@contextmanager
def log_lines_of(module: ModuleType) -> Iterator[list[MutableMapping[str, Any]]]:
    """Yield the lines that `module` logs until the block ends.

    A gateway that ran in this process may have left its level, and loggers that keep what they began with.
    """
    before, logger = structlog.get_config(), module._log
    structlog.reset_defaults()
    module._log = structlog.get_logger()
    try:
        with capture_logs() as lines:
            yield lines
    finally:
        module._log = logger
        structlog.configure(**before)
