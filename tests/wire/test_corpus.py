"""The fuzz targets' corpus, replayed without a fuzzer: what was found once stays found."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).resolve().parents[2] / "fuzz"
SEEDS = sorted(p for p in (FUZZ / "corpus").glob("*/*") if p.is_file())
IN_PYTHON = [seed for seed in SEEDS if seed.parent.name != "kit"]


def test_every_target_has_seeds() -> None:
    assert {seed.parent.name for seed in SEEDS} == set(module("run").TARGETS)


@pytest.mark.parametrize("seed", IN_PYTHON, ids=lambda seed: f"{seed.parent.name}/{seed.name}")
def test_a_seed_gives_a_value_or_one_documented_refusal(seed: Path) -> None:
    module(seed.parent.name).check(seed.read_bytes())


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    corpus = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(corpus)
    return corpus
