"""Sounds without speech, for the evaluation of out-of-distribution detection."""

import numpy as np

from ser_utils import audio
from ser_utils.live.deployed import SR
from ser_utils.live.predictor import MIN_DURATION, MIN_PEAK

SEGMENT_DURATION = 3.0  # s
N_SOUNDS = 100  # of each synthetic kind


def synthesize_noise(rng, t):
    """Synthesize noise with a spectrum between white and red."""
    frequencies = np.maximum(np.fft.rfftfreq(len(t), 1 / SR), 20)
    return np.fft.irfft(np.fft.rfft(rng.normal(size=len(t))) * frequencies ** -rng.uniform(0, 1), len(t))


def synthesize_hum(rng, t):
    """Synthesize harmonics of 50 Hz in white noise of low intensity."""
    return sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * 50 * k * t + rng.uniform(0, 6)) for k in range(1, 12)) \
        + rng.normal(0, 0.01, len(t))


def synthesize_music(rng, t):
    """Synthesize chords of decaying harmonic tones at regular intervals."""
    y = np.zeros(len(t))
    for onset in np.arange(0, SEGMENT_DURATION, rng.choice([0.15, 0.25, 0.5])):
        elapsed, decay, slope = np.maximum(t - onset, 0), rng.uniform(2, 8), rng.uniform(1, 2)
        envelope = np.exp(-decay * elapsed) * (t >= onset) * np.minimum(1, 100 * elapsed)
        for f0 in 110 * 2 ** (rng.integers(0, 36, rng.integers(1, 4)) / 12):
            y += envelope * sum(np.sin(2 * np.pi * f0 * k * elapsed) / k ** slope for k in range(1, 8))
    return y


def synthesize_sounds(seed=0):
    """Synthesize sounds without speech: lists of trimmed waveforms at 16 kHz, by kind."""
    rng, t = np.random.default_rng(seed), np.arange(int(SEGMENT_DURATION * SR)) / SR
    kinds = {"colored noise": synthesize_noise, "mains hum": synthesize_hum, "synthetic music": synthesize_music}
    return {kind: [audio.trim((y / np.abs(y).max() / 2).astype(np.float32))
                   for y in (synthesize(rng, t) for _ in range(N_SOUNDS))]
            for kind, synthesize in kinds.items()}


def read_segments(path):
    """Read a recording in segments of three seconds, without silent ones: trimmed waveforms at 16 kHz."""
    with audio.open_audio(path) as sound:
        blocks = audio.stream_blocks(lambda n: sound.read(n, dtype="float32", always_2d=True), sound.samplerate,
                                     SEGMENT_DURATION, SEGMENT_DURATION)
        segments = [audio.resample(y.mean(axis=1), sound.samplerate, SR) for _, y in blocks]
    return [audio.trim(y) for y in segments if len(y) >= MIN_DURATION * SR and np.abs(y).max() >= MIN_PEAK]


def load_sounds(paths=()):
    """Synthesize sounds, and read the given recordings: lists of trimmed waveforms at 16 kHz, by kind or file name."""
    return synthesize_sounds() | {path.name: read_segments(path) for path in paths}
