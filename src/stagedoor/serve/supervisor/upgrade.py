"""Upgrades: a supervisor starts the program that is installed now, and hands over to its supervisor."""

import signal
from collections.abc import Callable, Sequence

import structlog

from stagedoor.model.errors import StagedoorError
from stagedoor.net.notify import has_service_manager, notify_service_manager
from stagedoor.serve.prepare import Bound
from stagedoor.serve.supervisor.control import MetricsMessage
from stagedoor.serve.supervisor.gateway_file import GatewayFile
from stagedoor.serve.supervisor.handover import OldMetrics, OldSessions, SuccessorReady, Transfer
from stagedoor.serve.supervisor.old_gateways import OldGateways
from stagedoor.serve.supervisor.side_services import SideServices
from stagedoor.serve.supervisor.successor import Successor
from stagedoor.serve.supervisor.worker_pool import WorkerPool
from stagedoor.tasks import Tasks


class UpgradeService:
    """The upgrades of one supervisor. A successful one is the last, since it hands over.

    `command` starts the program, and `stop` stops the supervisor. If whatever started this process knows only
    this one, it `stays` until the new gateway ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: WorkerPool,
        services: SideServices,
        file: GatewayFile,
        older: OldGateways,
        stop: Callable[[], None],
        stays: bool,
    ) -> None:
        self._command = command
        self._workers = workers
        self._services = services
        self._file = file
        self._older = older
        self._stop = stop
        self._stays = stays
        self._successor: Successor | None = None
        """Set while a program starts, and after it has taken over."""
        self._following = Tasks("following the new gateway failed")
        self._keeps_connections = False
        self._is_abandoned = False
        """Whether the new gateway has died."""

    async def run(self, sockets: Bound, why_not: str) -> None:
        """Hand over the sockets and all that belongs to them, or change nothing and log why.

        After a hand-over `sockets` is empty. `why_not` is the reason if no upgrade is possible now, or "".
        """
        if self._workers.state.is_retired:
            return
        number = self._file.note.upgrade.number + 1
        self._file.write_upgrade(number=number, state="running", text="starting")
        try:
            if why_not:
                raise StagedoorError(why_not)
            if not self._command:
                raise StagedoorError("this gateway is part of another program; restart that")
            successor = self._successor = await Successor.start(
                self._command, sockets, self._older.list_streams()
            )
            ready = await successor.wait_until_ready(self._report)
            await self._hand_over(successor, ready, sockets)
        except StagedoorError as error:
            structlog.get_logger().error("upgrade refused: nothing has changed", reason=str(error))
            refused, self._successor = self._successor, None
            if refused is not None:
                await refused.end()
            self._file.write_upgrade(state="failed", text=str(error))

    def _report(self, step: str) -> None:
        structlog.get_logger().info("upgrading", step=step)
        self._file.write_upgrade(text=step)

    async def _hand_over(self, successor: Successor, ready: SuccessorReady, sockets: Bound) -> None:
        """Hand over. Raises StagedoorError if the successor died meanwhile, or this gateway stops."""
        await self._services.end()
        hello = successor.hello
        assert hello is not None, "it is ready"
        is_stopping = self._workers.state.is_stopping
        if successor.channel.is_ended or is_stopping:
            if not is_stopping:
                await self._services.begin(self._workers.checked)
            raise StagedoorError("the new program ended before it took over")
        notify_service_manager(f"MAINPID={hello.pid}")
        self._file.write(retired=True)
        successor.channel.send(Transfer(await self._older.pass_on()))
        for listening in sockets.values():
            listening.close_sockets()
        sockets.clear()
        self._keeps_connections = ready.settings == self._workers.checked.digest
        self._workers.retire(self._forward, keeps_connections=self._keeps_connections)
        self._following.start(self._follow(successor))
        await self._workers.old_closed.wait()
        structlog.get_logger().info(
            "handed over",
            to=hello.program,
            pid=hello.pid,
            sessions=self._workers.state.sessions_left,
        )
        self._file.write_upgrade(state="done", text="")

    def cancel(self) -> None:
        """Kill a program that has not taken over yet."""
        if self._successor is not None and not self._workers.state.is_retired:
            self._successor.signal(signal.SIGKILL)

    def pass_on(self, number: signal.Signals) -> bool:
        """Pass a signal on to the new gateway, if whatever started this one knows no other process."""
        successor = self._successor if self._workers.state.is_retired else None
        if successor is None or successor.channel.is_ended or has_service_manager():
            return False
        successor.signal(number)
        return True

    def report_sessions(self) -> None:
        """Report how many sessions are left, if the new gateway has taken over."""
        if self._successor is not None and self._workers.state.is_retired:
            sessions = self._workers.state.sessions_left
            self._file.write(sessions=sessions)
            self._successor.channel.send(OldSessions(sessions))

    def _on_settings(self, settings: str) -> None:
        """Refuse new channels on connections if the digest shows that the gateway has other settings now."""
        is_changed = settings != self._workers.checked.digest
        if is_changed and self._keeps_connections and not self._workers.state.is_stopping:
            self._keeps_connections = False
            self._workers.retire(self._forward, keeps_connections=False)

    def _forward(self, worker: str, measured: MetricsMessage | None) -> None:
        assert self._successor is not None, "it has taken over"
        self._successor.channel.send(OldMetrics(worker, measured))

    async def _follow(self, successor: Successor) -> None:
        self.report_sessions()
        if not await successor.follow(self._stop, self._on_settings):
            self._is_abandoned = True
            structlog.get_logger().error("the gateway that had taken over has died")
            if not has_service_manager():  # whatever started this gateway has to start another
                self._stop()

    async def wait(self) -> None:
        """Wait for the new gateway's end, if this one stays.

        Call it once no session is left. Raises StagedoorError if the new gateway has died.
        """
        if self._successor is None:
            return
        self._successor.channel.end()
        if self._stays:
            await self._following.wait()
            if self._is_abandoned:
                raise StagedoorError(
                    "the gateway that had taken over has died; the log has its last lines"
                )
