"""The command line: every command once in process, errors, and the two entry points as processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ser_utils import __version__, cli
from ser_utils._utils.files import ROOT
from ser_utils.datasets import SAMPLES
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation.results import load_predictions
from ser_utils.evaluation.splits import speaker_independent
from ser_utils.features.store import load_features
from ser_utils.models.registry import MODELS

ANGRY = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"
EVALUATE = ["evaluate", "--features", "build/features/ravdess", "--jobs", 1]
REGRESSION = "sklearn.linear_model:LogisticRegression"
UNAVAILABLE = next(dataset for dataset in DATASETS.values() if not dataset.url)
HEAVY = {"tensorflow", "keras", "librosa", "numba", "sklearn", "pandas", "scipy", "matplotlib", "tqdm", "onnx"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, run_cli):
    """A folder with features in build/features/ravdess."""
    folder = tmp_path_factory.mktemp("workspace")
    status, stdout, stderr = run_cli("extract", SAMPLES, "--no-f0", "--jobs", 1, cwd=folder)
    assert (status, stderr) == (0, "")
    assert stdout.startswith("32 clips of 4 speakers, ")
    return folder


def test_datasets_lists_all_datasets_and_marks_the_installed_ones(run_cli, samples, monkeypatch):
    monkeypatch.setenv("SER_DATA", str(samples))
    status, stdout, _ = run_cli("datasets")
    assert status == 0
    assert [line.split()[0] for line in stdout.splitlines() if line[:1].strip()] == [*DATASETS, "custom"]
    assert f"installed: 32 clips in {samples}" in stdout
    assert "not installed: " in stdout


def test_extract_strict_fails_if_a_file_was_skipped(run_cli, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    pd.DataFrame({"file": [ANGRY, "broken.wav"], "emotion": ["angry", "sad"]}).to_csv(tmp_path / "my.csv", index=False)
    arguments = ["extract", "my.csv", "--dataset", "custom", "--no-f0", "--jobs", 1]
    status, stdout, stderr = run_cli(*arguments, cwd=tmp_path)
    assert (status, stderr[:9], stderr.count("\n")) == (0, "skipped: ", 1)
    assert "1 clips" in stdout
    assert (tmp_path / "build" / "features" / "my" / "features.npz").is_file()
    assert run_cli(*arguments, "--strict", cwd=tmp_path) == (1, stdout, stderr)


def test_evaluate_predicts_the_validation_speakers(workspace, run_cli):
    status, stdout, stderr = run_cli(*EVALUATE, "--model", REGRESSION, cwd=workspace)
    assert status == 0, stderr
    assert {REGRESSION, "speaker-independent", "emotion"} <= set(stdout.replace(",", "").split())
    predictions = load_predictions(workspace / "build" / "experiment")
    clips = load_features(workspace / "build" / "features" / "ravdess").clips
    expected = {(split.fold, clip) for split in speaker_independent(clips) for clip in clips["clip"][split.validation]}
    assert set(zip(predictions["fold"], predictions["clip"], strict=True)) == expected
    np.testing.assert_allclose(predictions.filter(regex="^p_").sum(axis=1), 1, atol=1e-4)
    assert not (workspace / "build" / "results").exists()


def test_evaluate_test_logs_each_access_and_replaces_predictions(workspace, run_cli):
    for models in (["chance", "svm"], ["svm"]):
        status, stdout, stderr = run_cli(*EVALUATE, "--test", "--target", "gender", "--model", *models, cwd=workspace)
        assert status == 0, stderr
        assert "| svm |" in stdout
    log = pd.read_csv(workspace / "build" / "results" / "test_access.csv")
    assert sorted(log["model"]) == ["chance", "svm", "svm"]
    assert log["uar"].notna().all()
    predictions = load_predictions(workspace / "build" / "results", "gender")
    assert predictions.groupby("model")["clip"].nunique().to_dict() == {"chance": 32, "svm": 32}
    assert not predictions.duplicated(["model", "clip"]).any()


@pytest.mark.parametrize("options", [[], ["--test"]])
def test_evaluate_states_that_a_training_set_is_too_small(workspace, run_cli, options):
    folder = workspace / "build" / "small"
    status, stdout, stderr = run_cli(*EVALUATE, "--model", "svm", "--results", folder, *options, cwd=workspace)
    assert (status, stdout, len(stderr.splitlines())) == (2, "", 1)
    assert re.match(r"error: svm needs 5 .* fold 0 of speaker-independent has \d of \w+, .*LogisticRegression", stderr)
    assert not (folder / "test_access.csv").exists()


def test_evaluate_shows_the_failing_line_of_a_custom_model(workspace, run_cli, monkeypatch):
    monkeypatch.setattr("sklearn.linear_model.LogisticRegression.fit", lambda *_: int("error in fit"))
    status, _, stderr = run_cli(*EVALUATE, "--model", REGRESSION, "--target", "gender", "--fold", 0, cwd=workspace)
    assert status == 2
    assert 'int("error in fit")' in stderr
    assert REGRESSION in stderr.splitlines()[-1]


def test_predict_prints_a_table_or_json_and_skips_unreadable_files(run_cli):
    assert run_cli("predict", ANGRY)[0] == 0
    status, table, stderr = run_cli("predict", "missing.wav", ANGRY)
    assert (status, stderr[:9], stderr.count("\n")) == (1, "skipped: ", 1)
    status, stdout, _ = run_cli("predict", "--json", ANGRY, ANGRY)
    predictions = [json.loads(line) for line in stdout.splitlines()]
    assert (status, len(predictions)) == (0, 2)
    assert predictions[0] == predictions[1]
    assert {predictions[0]["file"], predictions[0]["emotion"], predictions[0]["class"]} <= set(table.split())


def test_audit_fails_on_leakage(run_cli, samples, tmp_path):
    files = sorted(samples.rglob("*.flac"))
    table = pd.DataFrame({"file": files, "emotion": "neutral", "speaker": [path.parent.name for path in files],
                          "subset": ["train", "test"] * 16})
    table.to_csv(tmp_path / "clips.csv", index=False)
    status, stdout, stderr = run_cli("audit", tmp_path / "clips.csv", "--jobs", 1)
    assert (status, stderr) == (1, "")
    assert "speaker" in stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (["evaluate", "--model", "nonsense"], "'nonsense'"),
    (["evaluate", "--split", "nonsense"], "'nonsense'"),
    (["evaluate", "--features", "nowhere"], "nowhere"),
    (["evaluate", "--test", "--seed", "5"], "--model"),
    (["extract", "nowhere"], "nowhere"),
    (["audit", "a.csv", "b.csv", "c.csv", "d.csv"], "4 tables"),
    (["download", UNAVAILABLE.name, "raw"], UNAVAILABLE.licence),
])
def test_errors_are_one_line(run_cli, tmp_path, arguments, message):
    status, stdout, stderr = run_cli(*arguments, cwd=tmp_path)
    assert (status, stdout, len(stderr.splitlines())) == (2, "", 1)
    assert stderr.startswith("error: ")
    assert message in stderr


def test_full_disk_error_suggests_to_free_disk_space(run_cli, monkeypatch):
    monkeypatch.setattr(cli, "find_recordings", lambda folder: Path("/dev/full").write_text("a"))
    status, _, stderr = run_cli("datasets")
    assert status == 2
    assert "free disk space" in stderr


def test_help_lists_the_models_and_version_is_printed(run_cli):
    for command in ("datasets", "download", "extract", "evaluate", "predict", "audit"):
        assert run_cli(command, "--help")[0] == 0
    assert set(MODELS) <= set(re.findall(r"\w+", run_cli("evaluate", "--help")[1]))
    assert run_cli("nonsense")[0] == 2
    assert run_cli("--version")[1] == f"ser_utils {__version__}\n"


def test_predict_imports_no_heavy_package():
    code = f"import sys; from ser_utils import cli; cli.main(sys.argv[1:]); print({HEAVY} & set(sys.modules))"
    stdout = subprocess.check_output([sys.executable, "-c", code, "predict", ANGRY], text=True, cwd=ROOT)
    assert stdout.endswith("\nset()\n")


@pytest.mark.parametrize("program", [[sys.executable, "-m", "ser_utils"], [Path(sys.executable).with_name("ser")]])
def test_entry_point_discards_messages_of_native_libraries(program, tmp_path):
    if not Path(program[0]).is_file():
        pytest.skip("the package is not installed in this environment")
    corrupt = tmp_path / "corrupt.mp3"  # mpg123 reports it on file descriptor 2
    corrupt.write_bytes(b"\xff\xfb\x90\x00" + bytes(range(256)) * 100)
    process = subprocess.run([*program, "predict", "--json", ANGRY, corrupt], capture_output=True, text=True,
                             check=False, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (process.returncode, process.stderr[:9], process.stderr.count("\n")) == (1, "skipped: ", 1)
    assert json.loads(process.stdout)["file"] == str(ANGRY)
