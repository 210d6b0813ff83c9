"""A gateway that may let no developer in unseen: while the log host is away, and once it is back."""

from contextlib import closing
from pathlib import Path

from tests.audit.receivers import SyslogServer
from tests.listeners.wire import dialled, head, read_answer
from tests.path.faulty import Faulty, serving
from tests.path.test_health import HEALTH, asked
from tests.serve.test_audit_output import is_whole
from tests.waiting import wait_until


def status(gateway: Faulty) -> int:
    with dialled(gateway.own_port) as client:
        client.send(head("app01-ssh:22", gateway.auth))
        return read_answer(client).status


# Ten seconds, since `refuse_after_s` is five at least.
def test_no_login_succeeds_while_a_sink_is_too_late_where_the_settings_say_so(
    tmp_path: Path,
) -> None:
    server = SyslogServer()
    server.close()
    sink = f'[[audit.sinks]]\nname = "siem"\nurl = "syslog+tcp://127.0.0.1:{server.port}"\n'
    with serving(tmp_path, f"{HEALTH}[audit]\nrefuse_after_s = 5\n{sink}") as gateway:
        # Asked by log, since each tunnel that opens takes a place in the shell's queue of connections.
        gateway.wait_for(
            lambda line: line.get("part") == "audit delivery" and line["event"] == "fails"
        )
        wait_until(lambda: status(gateway) == 503)
        page = asked(gateway.port("health"), "/readyz")
        assert page[0] == 200
        wait_until(lambda: "audit sink siem fails" in asked(gateway.port("health"), "/readyz")[1])
        with closing(SyslogServer(port=server.port)) as back:
            wait_until(lambda: status(gateway) == 200)
            wait_until(lambda: '"session.opened"' in "".join(back.lines))
            assert is_whole(back.lines, 1)
        events = [line for line in gateway.lines if line.get("part") == "audit sink siem"]
        assert [line["event"] for line in events] == ["fails", "works again"]
