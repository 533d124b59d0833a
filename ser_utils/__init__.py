"""Speech emotion recognition from MFCCs, evaluated on unseen speakers.

Sub-packages and modules, each importing only from those before it:

- `audio`: reading, resampling and trimming recordings
- `distortions`, `whisper`: simulated recording conditions, and features from a pretrained encoder
- `datasets`: published corpora and custom recordings as a table of clips
- `features`: MFCCs, acoustic descriptors and feature files
- `models`: estimators with scikit-learn's interface
- `evaluation`: splits, experiments and metrics
- `live`: prediction on new recordings
- `plotting`, `explain`: figures and attribution
- `cli`: the command line
"""

__version__ = "0.2.0"


def predict(source, sr=None, speaker_stats=None, model="whisper"):
    """Predict emotion and gender from a recording or samples.

    Parameters
    ----------
    source : str, Path or np.ndarray [shape=(n,) or (n, n_channels)]
        A recording, or samples: floating-point with a full scale of 1, or integers, which are divided by the full
        scale of their type.
    sr : int, optional
        Sampling rate of the samples in Hz; required for samples, not used for a recording.
    speaker_stats : np.ndarray, optional
        Reference statistics of the speaker from `ser_utils.live.enroll_speaker`.
    model : {"whisper", "mfcc"}, default "whisper"
        Classifiers on the pretrained encoder, or CNNs on MFCCs (`ser_utils.live.load_model`).

    Returns
    -------
    dict
        Predicted `emotion`, `gender` and `class`, `probabilities` of the emotions, `ood_score` and `warnings`, as
        `ser_utils.live.predict` describes them.

    Raises
    ------
    AudioError
        If the recording cannot be used.
    ValueError
        If the samples, their sampling rate, the reference statistics or the name of the model are not valid, as
        described by `ser_utils.live.predict`.
    IntegrityError
        If a model file is missing or altered.

    See Also
    --------
    ser_utils.live.predict : The same function, with a description of all results.
    ser_utils.live.enroll_speaker : Compute reference statistics of a speaker.

    Examples
    --------
    >>> from ser_utils.datasets import SAMPLES
    >>> prediction = predict(SAMPLES / "Actor_01" / "03-01-05-01-01-01-01.flac")
    >>> prediction["emotion"], prediction["class"]
    ('angry', 'male_angry')
    """
    from ser_utils.live import predictor

    return predictor.predict(source, sr, speaker_stats, model)
