"""`stagedoor serve` from start to stop."""

import os
import resource
from pathlib import Path

import structlog

from stagedoor.serve import log
from stagedoor.serve.prepare import check, prepare
from stagedoor.serve.supervisor import Supervisor


async def serve_forever(settings_file: Path | None) -> None:
    """Run until a signal ends it.

    Raises SettingsError or another StagedoorError when it cannot start.
    """
    # A tunnel takes two descriptors, and the customary soft limit is 1024 (systemd.exec(5) on why).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    checked = check(settings_file)
    log.configure(checked.settings.log)
    prepare(checked.settings)
    supervisor = Supervisor(checked, lambda: check(settings_file))
    await supervisor.start()
    structlog.get_logger().info("serving", pid=os.getpid(), data_dir=str(checked.settings.data_dir))
    await supervisor.wait()
