"""Distortions: rejection of samples and parameters that would give no or wrong output."""

import numpy as np
import pytest

from ser_utils import distortions

SR = 16000
NOISE = np.random.default_rng(0).normal(0, 0.1, SR)


@pytest.mark.parametrize(("y", "message"), [
    (NOISE[:0], "empty"), (np.stack([NOISE, NOISE]), r"\(2, 16000\)"), (np.append(NOISE, np.nan), "NaN"),
    ((20000 * NOISE).astype(np.int16), "int16"), (20000 * NOISE, "full scale")])
def test_distortions_reject_invalid_samples(y, message):
    """Without the check, libsndfile ends the process on some of them."""
    functions = [lambda y, function=function: function(y, SR, 0) for function in distortions.CONDITIONS.values()]
    for function in [*functions[1:], lambda y: distortions.simulate_random_channel(y, SR)]:  # "clean" returns y
        with pytest.raises(ValueError, match=message):
            function(y)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: distortions.simulate_room(NOISE, SR, rt60=0), "rt60=0"),
    (lambda: distortions.simulate_room(NOISE, SR, rt60=-1), "rt60=-1"),
    (lambda: distortions.simulate_room(NOISE, 0), "sr=0"), (lambda: distortions.simulate_telephone(NOISE, 0), "sr=0"),
    (lambda: distortions.encode_mp3(NOISE, 96000), "sr=96000"),
    (lambda: distortions.simulate_random_channel(NOISE, -1), "sr=-1")])
def test_distortions_reject_invalid_parameters(call, message):
    with pytest.raises(ValueError, match=message):
        call()
