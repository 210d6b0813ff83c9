"""The metrics of a gateway with two workers, read as Prometheus does, after a login by each method."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from stagedoor.serve.metrics import definitions as metrics
from tests.fixtures.gateway import SSH_TABLE, local
from tests.fixtures.laptop import open_laptop
from tests.fixtures.people import PlainBrowser
from tests.path.test_health import asked
from tests.ports import free_port
from tests.waiting import wait_until
from tests.web.outer import attach_command

SETTINGS = (
    '[web]\naddresses = ["127.0.0.1:0"]\n[health]\naddress = "127.0.0.1:PORT"\n'
    "[workers]\ncount = 2\ndrain_timeout_s = 5\n" + SSH_TABLE + local("app01")
)
Samples = dict[tuple[str, tuple[str, ...]], float]


def read(text: str) -> Samples:
    """Return the samples by name and label values in order of label."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_is_there_and_each_way_in_is_counted(tmp_path: Path) -> None:
    """One real gateway, four logins, a sign-in, two commands and a reload: some fifteen seconds, half of
    them the starts of processes. It stands for all of the measures, so that the others can be pure."""
    with open_laptop(tmp_path, SETTINGS.replace("PORT", str(free_port()))) as laptop:
        gateway = laptop.gateway
        health = gateway.port("health")
        config = laptop.config()
        assert laptop.ssh("app01-ssh", "true", config=config).returncode == 0
        assert laptop.ssh("app01@gw", "true", config=config).returncode == 0
        tunnel = (
            f"{sys.executable} -m stagedoor tunnel --gateway 127.0.0.1:{gateway.port()} --user dev "
            f"--via direct --token-file {tmp_path}/token %h %p"
        )

        def page() -> Samples:
            status, text = asked(health, "/metrics")
            assert status == 200
            return read(text)

        with subprocess.Popen(
            attach_command(tmp_path, gateway.port("web"), "app01", "--", "read", "line"),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as attach:  # fmt: skip
            at_terminals = [("stagedoor_web_terminals", ()), ("stagedoor_holders", ())]
            # Until the first count of a worker, every two seconds, there is none.
            wait_until(lambda: [page().get(metric) for metric in at_terminals] == [1, 1])
            attach.communicate(b"\n", timeout=60)
        wait_until(lambda: [page()[metric] for metric in at_terminals] == [0, 0])
        assert PlainBrowser(gateway.port("web")).sign_in().status == 303
        done = laptop.ssh("-o", f"ProxyCommand={tunnel}", "app01-ssh", "true")
        assert done.returncode == 0, done.stderr

        ways = ("connect", "direct", "jump", "web")
        wait_until(
            lambda: all(page()[("stagedoor_session_length_seconds_count", (w,))] for w in ways)
        )
        wait_until(lambda: page()[("stagedoor_sign_ins_total", ("password",))] == 1)
        samples = page()
        assert [samples[("stagedoor_logins_total", (way, "opened"))] for way in ways] == [1] * 4
        assert not any(samples[("stagedoor_sessions", (way,))] for way in ways)
        assert samples[("stagedoor_relay_bytes_total", ("sent",))] > 1000
        assert samples[("stagedoor_shell_starts_total", ("ready",))] == 1
        assert samples[("stagedoor_audit_open_seconds_count", ())] == 4
        assert samples[("stagedoor_store_transaction_seconds_count", ("read",))] > 4
        assert samples[("stagedoor_policy_age_seconds", ())] < 30
        assert samples[("stagedoor_event_loop_lag_seconds_count", ())] > 0
        names = {name for name, _ in samples}
        missing = [metric.name for metric in metrics.METRICS if not names & {*metric.samples}]
        no_sinks = ["stagedoor_audit_sink_failing", "stagedoor_audit_sink_backlog_events"]
        assert missing == ["stagedoor_certificate_remaining_seconds", *no_sinks], "none is set up"
        assert len(samples) == len(set(samples))

        status = json.loads(gateway.command("status", "--json").stdout)
        assert (status["state"], len(status["workers"])) == ("well", 2)
        assert status["store"]["policy_version"] == samples[("stagedoor_policy_version", ())]

        looked = json.loads(gateway.command("doctor", "--json", check=False).stdout)
        assert not [check for check in looked if check["level"] == "fail"]
        own = [check["what"] for check in looked if check["check"] == "sockets"]
        assert f"127.0.0.1:{health} (health.address) is the running gateway's" in own

        before = samples[("stagedoor_logins_total", ("connect", "opened"))]
        gateway.signal(signal.SIGHUP)
        gateway.wait_for(lambda line: line["event"] == "reloaded")
        assert page()[("stagedoor_logins_total", ("connect", "opened"))] == before
        assert not [line for line in gateway.lines if line["level"] == "error"]
