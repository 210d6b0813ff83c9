"""The start of a gateway as a program of its own."""

import os
import resource
import sys
from pathlib import Path

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.serve import log
from stagedoor.serve.prepare import check, prepare
from stagedoor.serve.supervisor.predecessor import Predecessor
from stagedoor.serve.supervisor.supervisor import Supervisor


async def serve_forever(settings_file: Path | None) -> None:
    """Run a gateway until a signal ends it. Call `predecessor.detach` before.

    Raises SettingsError or another StagedoorError if it cannot start.
    """
    # A tunnel takes two descriptors, and the customary soft limit is 1024 (systemd.exec(5) on why).
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    predecessor = await Predecessor.connect()
    try:
        if predecessor is not None:
            predecessor.check_store()
            predecessor.report("reading the settings")
        checked = check(settings_file)
        log.configure(checked.settings.log)
        # The same words that started this process, and by then perhaps another program.
        command = (sys.executable, *sys.orig_argv[1:])
        supervisor = Supervisor(checked, lambda: check(settings_file), command, predecessor)
        if not await supervisor.start(lambda: prepare(checked.settings)):
            return
    except StagedoorError as error:
        if predecessor is not None:
            predecessor.refuse(str(error))
        raise
    structlog.get_logger().info("serving", pid=os.getpid(), data_dir=str(checked.settings.data_dir))
    await supervisor.wait()
