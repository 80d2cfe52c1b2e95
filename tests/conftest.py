"""What several test modules share: where reference data lies, and a small model with every weight shaken."""

import gc
import os
import sys
from pathlib import Path

# Nothing in the tests may reach for a network by accident; the tests that serve HTTP themselves say so. The libraries
# read this when they are imported.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest


def pytest_addoption(parser):
    parser.addoption(
        "--unlocked",
        action="store_true",
        help="other versions are installed than those locked: list what the common suites skip for unknown reasons, "
        "and let tests marked upstream_text fail",
    )


def pytest_configure(config):
    """Register the marks of transformers' own test suites, which tests/model/test_common_suites.py runs.

    The libraries are imported where they are needed only: the process that hands out tests to workers does without.
    """
    if config.getoption("--unlocked"):
        import transformers_suite

        transformers_suite.allow_unknown_reasons = True
    for name in (
        "accelerate_tests",
        "flash_attn_test",
        "flash_attn_3_test",
        "flash_attn_4_test",
        "is_pipeline_test",
        "is_training_test",
        "torch_compile_test",
        "torch_export_test",
    ):
        config.addinivalue_line("markers", f"{name}: transformers' own")


MANY_MODULES = 100  # that a test may have imported, before it repays to look through everything once
imported = 0


def pass_over_imported() -> None:
    """Let the collection of garbage pass over what the libraries and tests consist of, which stays to the end."""
    global imported
    imported = len(sys.modules)
    gc.freeze()


def seed_the_processor_only() -> None:
    """Where torch has seen no GPU, do not let it keep each seed for devices that may still be found.

    The text of the whole stack would be kept with it, which takes longer than to make a small model.
    """
    torch = sys.modules.get("torch")
    if torch and not torch.accelerator.is_available():
        torch.manual_seed = torch.default_generator.manual_seed


def pytest_collection_finish():
    pass_over_imported()
    seed_the_processor_only()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Do so again after a test that imported much: every training collects garbage at its end."""
    if len(sys.modules) > imported + MANY_MODULES:
        gc.collect()
        pass_over_imported()


def pytest_sessionfinish():
    gc.unfreeze()


def pytest_collection_modifyitems(config, items):
    if config.getoption("--unlocked"):
        for item in items:
            if item.get_closest_marker("upstream_text"):
                item.add_marker(pytest.mark.xfail(reason="another project's text, in another version", strict=False))


SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared_folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the reference data are not here: no folder {name} in {SHARED}")
    return folder


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """Outputs of the original software; tests that need them skip where they are absent."""
    return shared_folder("fixtures")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real corpora; tests that need them skip where they are absent."""
    return shared_folder("data")


@pytest.fixture
def tiny_config():
    """A configuration that is small, yet has every part: several filters, highways, projections, clips, layers."""
    import hf_elmo

    return hf_elmo.ElmoConfig(
        char_embedding_size=4,
        char_cnn_filters=[[1, 4], [2, 8], [3, 6]],
        num_highway_layers=1,
        projection_size=6,
        cell_size=10,
        cell_clip=0.4,
        projection_clip=0.3,
        lstm_dropout=0.0,
        classifier_dropout=0.0,
        head_dropout=0.0,
        tagger_size=5,
        sequence_size=5,
        qa_size=5,
    )


@pytest.fixture
def tiny_model(tiny_config):
    import torch
    from shaken import shake

    import hf_elmo

    torch.manual_seed(0)
    return shake(hf_elmo.ElmoModel(tiny_config))
