"""Functionals of whole clips with openSMILE: eGeMAPSv02 and ComParE 2016. Needs the optional package opensmile."""

from functools import lru_cache

import numpy as np

from ser_utils import audio

REQUIREMENT = "opensmile==2.6.0"


def compute_functionals(y, sr, feature_set):
    """Compute acoustic functionals of one clip with openSMILE.

    Parameters
    ----------
    y : np.ndarray [shape=(n,)]
        Samples of one clip, without silence at both ends. Clips shorter than 0.1 s are padded with zeros.
    sr : int
        Sampling rate in Hz.
    feature_set : {"eGeMAPSv02", "ComParE_2016"}
        88 functionals of the extended Geneva Minimalistic Acoustic Parameter Set [1]_, or the 6,373 of ComParE [2]_.

    Returns
    -------
    np.ndarray [shape=(n_features,)]
        Functionals, float32. Those that are undefined for the clip, NaN or infinite, are replaced by 0.

    Raises
    ------
    ValueError
        If opensmile is not installed.

    References
    ----------
    .. [1] F. Eyben et al., "The Geneva Minimalistic Acoustic Parameter Set (GeMAPS) for voice research and affective
       computing", IEEE Transactions on Affective Computing 7(2), 2016, doi:10.1109/TAFFC.2015.2457417.
    .. [2] B. Schuller et al., "The INTERSPEECH 2016 Computational Paralinguistics Challenge: deception, sincerity and
       native language", Interspeech, 2016, doi:10.21437/Interspeech.2016-129.

    Examples
    --------
    >>> y = np.random.default_rng(0).normal(0, 0.1, 16000)
    >>> compute_functionals(y, sr=16000, feature_set="eGeMAPSv02").shape  # doctest: +SKIP
    (88,)
    """
    y = np.pad(y, (0, max(0, round(audio.MIN_DURATION * sr) - len(y))))  # openSMILE needs about 0.06 s
    values = _get_smile(feature_set)(np.asarray(y, np.float32), sr).ravel()
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0).astype(np.float32)


@lru_cache
def _get_smile(feature_set):
    """Configure the extractor, once per process."""
    try:
        import opensmile
    except ImportError as error:
        raise ValueError("features egemaps and compare need openSMILE, which cannot be imported "
                         f"({error}); pip install {REQUIREMENT}") from error
    return opensmile.Smile(opensmile.FeatureSet[feature_set], opensmile.FeatureLevel.Functionals)
