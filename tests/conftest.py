"""What several tests need: the miniature's features, and the real recordings where a machine has them."""

from pathlib import Path

import pytest

from ser_utils import corpora, store

MINIATURE = corpora.ROOT / "data" / "miniature"
RECORDINGS = corpora.ROOT.parent / "shared" / "corpora" / "ravdess"


@pytest.fixture(scope="session")
def shipped():
    return store.load()


@pytest.fixture(scope="session")
def miniature(tmp_path_factory):
    """The folder of the miniature's features, extracted once."""
    out = tmp_path_factory.mktemp("miniature")
    made, errors = store.extract(MINIATURE, out, jobs=2, progress=False)
    assert len(made.clips) == 128
    assert not errors
    return out


@pytest.fixture(scope="session")
def recordings():
    if not RECORDINGS.is_dir():
        pytest.skip(f"needs the RAVDESS recordings in {Path('..', *RECORDINGS.parts[-3:])}, which do not ship")
    return RECORDINGS
