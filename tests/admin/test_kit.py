"""Settings for every shell's pod: taken, or refused with the setting's name."""

import pytest

from stagedoor.admin.kubernetes import read_kit
from stagedoor.model.errors import SettingsError
from stagedoor.settings.file import parse_settings


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('pod_labels = { "stagedoor.dev/shell-of" = "x" }', "pod_labels"),
        ('pod_labels = { "app.kubernetes.io/managed-by" = "x" }', "pod_labels"),
        ('pod_labels = { team = "a b" }', "pod_labels"),
        ('pod_labels = { "a/b/c" = "x" }', "pod_labels"),
        ('pod_annotations = { "stagedoor.dev/policy" = "x" }', "pod_annotations"),
        (
            'pod_annotations = { "kubectl.kubernetes.io/default-container" = "x" }',
            "pod_annotations",
        ),
        ('app_labels = ["stagedoor.dev/shell-of"]', "app_labels"),
        ('app_labels = ["app.kubernetes.io/managed-by"]', "app_labels"),
        ('app_labels = ["team"]\npod_labels = { team = "x" }', "app_labels"),
        ('priority_class = "Not One"', "priority_class"),
        ('kit_resources = { requests = { memory = "much" } }', "kit_resources"),
        ('kit_resources = { want = { memory = "1Mi" } }', "kit_resources"),
        (
            'kit_resources = { requests = { memory = "2Mi" }, limits = { memory = "1Mi" } }',
            "kit_resources",
        ),
    ],
)
def test_a_wrong_one_is_refused(line: str, named: str) -> None:
    with pytest.raises(SettingsError, match=f"controller.{named}"):
        read_kit(parse_settings(f'[controller]\nkit_image = "kit:1"\n{line}\n', "test"))


def test_the_right_ones_are_taken() -> None:
    made = read_kit(
        parse_settings(
            '[controller]\nkit_image = "kit:1"\npriority_class = "low.shells"\n'
            'pod_labels = { team = "platform", "example.com/cost" = "" }\n'
            'pod_annotations = { "sidecar.istio.io/inject" = "false" }\n'
            'kit_resources = { requests = { memory = "64Mi" } }\n',
            "test",
        )
    )
    assert made is not None
    assert made.pod_labels == {"team": "platform", "example.com/cost": ""}
    assert made.resources == {"requests": {"memory": "64Mi"}}
