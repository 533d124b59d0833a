"""The command line: every command once in process, errors, and the two entry points as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import CUSTOM_MODELS
from ser_utils import __version__, cli
from ser_utils._utils.files import ROOT
from ser_utils.datasets import SAMPLES
from ser_utils.datasets.core import DATASETS
from ser_utils.evaluation.results import load_predictions
from ser_utils.evaluation.splits import speaker_independent
from ser_utils.features.store import load_features

ANGRY = SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, run_cli):
    """A folder with extracted features, and the output of extract."""
    folder = tmp_path_factory.mktemp("workspace")
    output = run_cli("extract", ANGRY.parents[1], "--no-f0", "--jobs", 1, cwd=folder)
    return folder, output


def test_datasets_lists_all_and_the_installed(run_cli, samples, monkeypatch):
    monkeypatch.setenv("SER_DATA", str(samples))
    status, stdout, _ = run_cli("datasets")
    assert status == 0
    assert [line.split()[0] for line in stdout.splitlines() if line[:1].strip()] == [*DATASETS, "custom"]
    assert f"installed: 32 clips in {samples}" in stdout
    assert "not installed: " in stdout


def test_download_without_a_public_archive_says_how_to_get_it(run_cli, tmp_path):
    name = next(name for name, dataset in DATASETS.items() if not dataset.url)
    status, _, stderr = run_cli("download", name, tmp_path / "raw")
    assert status == 2
    assert stderr.startswith("error: ")
    assert DATASETS[name].licence in stderr


def test_extract_writes_features(workspace):
    folder, (status, stdout, stderr) = workspace
    assert status == 0
    assert stdout.startswith("32 clips of 4 speakers, ")
    assert stdout.endswith(f", 0 files skipped: {Path('build', 'features', 'ravdess')}\n")
    assert not stderr
    assert (folder / "build" / "features" / "ravdess" / "features.npz").is_file()


def test_extract_strict_fails_if_a_file_was_skipped(run_cli, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    pd.DataFrame({"file": [ANGRY, "broken.wav"], "emotion": ["angry", "sad"]}).to_csv(tmp_path / "my.csv", index=False)
    arguments = ["extract", "my.csv", "--dataset", "custom", "--no-f0", "--jobs", 1]
    status, stdout, stderr = run_cli(*arguments, cwd=tmp_path)
    assert (status, len(stderr.splitlines())) == (0, 1)
    assert stderr.startswith("skipped: ")
    assert stdout.endswith(f"1 files skipped: {Path('build', 'features', 'my')}\n")
    assert run_cli(*arguments, "--strict", cwd=tmp_path) == (1, stdout, stderr)


def test_evaluate_predicts_the_validation_speakers(workspace, run_cli):
    folder, model = workspace[0], "sklearn.linear_model:LogisticRegression"
    status, stdout, stderr = run_cli("evaluate", "--features", "build/features/ravdess", "--model", model, "--jobs", 1,
                                     cwd=folder)
    assert status == 0, stderr
    assert {model, "speaker-independent", "emotion"} <= set(stdout.split())
    predictions = load_predictions(folder / "build" / "experiment")
    clips = load_features(folder / "build" / "features" / "ravdess").clips
    expected = {(split.fold, clip) for split in speaker_independent(clips) for clip in clips["clip"][split.validation]}
    assert set(zip(predictions["fold"], predictions["clip"], strict=True)) == expected
    np.testing.assert_allclose(predictions.filter(regex="^p_").sum(axis=1), 1, atol=1e-4)
    assert not (folder / "build" / "results").exists()


def test_evaluate_test_logs_each_access_and_replaces_predictions(workspace, run_cli):
    folder, _ = workspace
    arguments = ["evaluate", "--features", "build/features/ravdess", "--test", "--target", "gender", "--jobs", 1]
    for models in (["chance", "svm"], ["svm"]):
        status, stdout, stderr = run_cli(*arguments, "--model", *models, cwd=folder)
        assert status == 0, stderr
        assert "| svm |" in stdout
    log = pd.read_csv(folder / "build" / "results" / "test_access.csv")
    assert sorted(log["model"]) == ["chance", "svm", "svm"]
    assert log["uar"].notna().all()
    predictions = load_predictions(folder / "build" / "results", "gender")
    assert predictions.groupby("model")["clip"].nunique().to_dict() == {"chance": 32, "svm": 32}
    assert not predictions.duplicated(["model", "clip"]).any()


def test_evaluate_shows_where_a_custom_model_failed(workspace, run_cli, monkeypatch, tmp_path):
    (tmp_path / "broken_models.py").write_text(CUSTOM_MODELS + """
class Broken(Regression):
    def fit(self, X, y):
        raise ValueError("my own mistake")
""")
    monkeypatch.syspath_prepend(tmp_path)
    status, _, stderr = run_cli("evaluate", "--features", workspace[0] / "build" / "features" / "ravdess", "--model",
                                "broken_models:Broken", "--fold", 0, "--jobs", 1, cwd=tmp_path)
    assert status == 2
    assert 'raise ValueError("my own mistake")' in stderr
    assert stderr.splitlines()[-1].startswith("error: Run(model='broken_models:Broken'")


def test_predict_prints_a_table_or_json(run_cli):
    status, stdout, stderr = run_cli("predict", ANGRY)
    assert (status, stderr) == (0, "")
    assert "angry" in stdout
    status, stdout, _ = run_cli("predict", "--json", ANGRY, ANGRY)
    answers = [json.loads(line) for line in stdout.splitlines()]
    assert (status, len(answers)) == (0, 2)
    assert answers[0] == answers[1]
    assert answers[0]["emotion"] == max(answers[0]["probabilities"], key=answers[0]["probabilities"].get)


def test_predict_skips_unreadable_files(run_cli, tmp_path):
    status, stdout, stderr = run_cli("predict", tmp_path / "missing.wav", ANGRY)
    assert status == 1
    assert "angry" in stdout
    assert stderr.startswith("skipped: ")
    assert len(stderr.splitlines()) == 1


def test_audit_fails_on_leakage(run_cli, samples, tmp_path):
    files = sorted(samples.rglob("*.flac"))
    for name, part in (("train", files), ("test", files[:8])):
        pd.DataFrame({"file": part, "emotion": "neutral", "speaker": [path.parent.name for path in part]}).to_csv(
            tmp_path / f"{name}.csv", index=False)
    status, stdout, stderr = run_cli("audit", tmp_path / "train.csv", tmp_path / "test.csv", "--jobs", 1)
    assert (status, stderr) == (1, "")
    assert "speaker" in stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (["evaluate", "--model", "nonsense"], "'nonsense'"),
    (["evaluate", "--split", "nonsense"], "'nonsense'"),
    (["evaluate", "--fold", "7"], "fold 7 of speaker-independent does not exist"),
    (["evaluate", "--features", "nowhere"], "nowhere"),
    (["evaluate", "--test", "--seed", "5"], "name the models with --model"),
    (["extract", "nowhere"], "nowhere"),
    (["audit", "a.csv", "b.csv", "c.csv", "d.csv"], "4 tables"),
])
def test_errors_are_one_line(run_cli, tmp_path, arguments, message):
    status, stdout, stderr = run_cli(*arguments, cwd=tmp_path)
    assert (status, stdout, len(stderr.splitlines())) == (2, "", 1)
    assert stderr.startswith("error: ")
    assert message in stderr


def test_a_full_disk_is_explained(run_cli, monkeypatch):
    monkeypatch.setattr(cli, "find_recordings", lambda folder: Path("/dev/full").write_text("a"))
    status, _, stderr = run_cli("datasets")
    assert status == 2
    assert "free disk space" in stderr


def test_help_lists_commands_and_options(run_cli):
    status, stdout, _ = run_cli("--help")
    assert status == 0
    for command in ("datasets", "download", "extract", "evaluate", "predict", "audit"):
        assert command in stdout
        assert run_cli(command, "--help")[0] == 0
    assert run_cli("nonsense")[0] == 2
    assert run_cli("--version")[1] == f"ser_utils {__version__}\n"


@pytest.mark.parametrize("command", ["module", "installed"])
def test_entry_point_runs_without_heavy_imports_or_native_messages(command, tmp_path):
    ser = Path(sys.executable).with_name("ser")
    if command == "installed" and not ser.is_file():
        pytest.skip("the package is not installed in this environment")
    corrupt = tmp_path / "corrupt.mp3"  # mpg123 reports it on file descriptor 2
    corrupt.write_bytes(b"\xff\xfb\x90\x00" + bytes(range(256)) * 100)
    program = [ser] if command == "installed" else [sys.executable, "-X", "importtime", "-m", "ser_utils"]
    done = subprocess.run([*program, "predict", "--json", ANGRY, corrupt], capture_output=True, text=True, check=False,
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["file"]
    [message] = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert message.startswith("skipped: ")
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert not imported & {"pandas", "sklearn", "scipy", "librosa", "tensorflow", "keras", "joblib", "matplotlib"}
