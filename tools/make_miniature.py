"""Speak the miniature corpus: RAVDESS's two sentences by eight synthetic voices in eight emotional prosodies.

    python -m pip install praat-parselmouth==0.4.7
    python tools/make_miniature.py

Praat's speech synthesiser says the words; its PSOLA moves pitch, tempo and formants; brightness and level come after.
The directions of pitch, range, tempo, level and brightness for anger, fear, happiness, sadness and tenderness (here
calm) are those of the review by Juslin & Laukka 2003 (doi:10.1037/0033-2909.129.5.770); their sizes are ours. Disgust
and surprise, on which studies agree less, are ours altogether.
"""

import shutil
from pathlib import Path

import numpy as np
import soundfile
from parselmouth.praat import call

OUT = Path(__file__).resolve().parent.parent / "data"
SR = 16000
SENTENCES = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}

# emotion: RAVDESS code, pitch in semitones from the speaker's own, factor on the pitch range, factor on the duration,
# level in dB re full scale, spectral tilt in dB an octave above 500 Hz
PROSODY = {
    "neutral": ("01", 0.0, 1.0, 1.00, -40, 0.0),
    "calm": ("02", -1.0, 0.7, 1.15, -44, -2.0),
    "happy": ("03", 4.0, 1.7, 0.92, -34, 1.5),
    "sad": ("04", -2.0, 0.5, 1.25, -48, -3.0),
    "angry": ("05", 5.0, 1.9, 0.86, -26, 4.0),
    "fearful": ("06", 6.0, 0.6, 0.80, -42, -0.5),
    "disgust": ("07", -1.5, 0.9, 1.20, -38, 1.0),
    "surprised": ("08", 7.0, 2.3, 1.02, -33, 1.0),
}

# actor (odd male, even female): voice of the synthesiser, pitch in Hz, factor on formants, factor on duration
SPEAKERS = {
    "01": ("Male1", 105, 1.00, 1.00), "02": ("Female1", 200, 1.00, 1.00), "03": ("Male3", 120, 1.06, 0.95),
    "04": ("Female3", 215, 1.05, 0.97), "05": ("Male4", 95, 0.94, 1.06), "06": ("Female4", 185, 0.96, 1.05),
    "07": ("Male6", 130, 1.09, 1.02), "08": ("Female5", 230, 1.10, 0.93),
}


def say(text, speaker, emotion, rng):
    """One sentence. np.ndarray [shape=(samples,)], float, at 16 kHz, a quarter of a second of room at both ends."""
    voice, pitch, formants, pace = SPEAKERS[speaker]
    _, semitones, pitch_range, duration, level, tilt = PROSODY[emotion]
    jitter = rng.normal(0, [0.3, 0.05, 0.02])  # nobody says a thing twice alike
    synthesizer = call("Create SpeechSynthesizer", "English (America)", voice)
    spoken = call(synthesizer, "To Sound", text, "no")
    sound = spoken[0] if isinstance(spoken, list) else spoken
    moved = call(sound, "Change gender", 60, 500, formants, pitch * 2 ** ((semitones + jitter[0]) / 12),
                 pitch_range * (1 + jitter[1]), duration * pace * (1 + jitter[2]))
    y = call(moved, "Resample", SR, 50).values[0]
    y = tilted(y, tilt)
    loud = np.flatnonzero(np.abs(y) > 0.02 * np.abs(y).max())
    y = y[loud[0]:loud[-1] + 1]
    y *= 10 ** (level / 20) / np.sqrt(np.mean(y**2))
    y = np.clip(np.pad(y, SR // 4), -0.99, 0.99)
    return y + rng.normal(0, 10 ** (-88 / 20), len(y))


def tilted(y, decibels_per_octave):
    """Brighter or darker: a straight slope on the log-frequency axis above 500 Hz."""
    spectrum = np.fft.rfft(y)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(y), 1 / SR), 500) / 500)
    return np.fft.irfft(spectrum * 10 ** (decibels_per_octave * octaves / 20), len(y))


def main():
    """Write data/miniature and data/this_coffee_sucks.flac."""
    rng, corpus = np.random.default_rng(2018), OUT / "miniature"
    for folder in corpus.glob("Actor_*"):
        shutil.rmtree(folder)
    for speaker in SPEAKERS:
        folder = corpus / f"Actor_{speaker}"
        folder.mkdir(parents=True)
        for emotion, (code, *_) in PROSODY.items():
            for statement, text in SENTENCES.items():
                soundfile.write(folder / f"03-01-{code}-01-{statement}-01-{speaker}.flac",
                                say(text, speaker, emotion, rng), SR, subtype="PCM_16")
    soundfile.write(OUT / "this_coffee_sucks.flac", say("This coffee sucks!", "03", "angry", rng), SR, subtype="PCM_16")
    size = sum(path.stat().st_size for path in corpus.rglob("*.flac"))
    print(f"{len(list(corpus.rglob('*.flac')))} clips, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
