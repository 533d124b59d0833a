"""MFCCs, acoustic descriptors and the features of a whole corpus."""

from ser_utils.features.descriptors import (
    CONTOUR_CONFIG,
    CONTOUR_FRAMES,
    DESCRIPTORS,
    compute_descriptors,
    mfcc_mean_contour,
)
from ser_utils.features.spectral import (
    FeatureConfig,
    dct_matrix,
    delta,
    extract_mfcc,
    functionals,
    log_mel_spectrogram,
    mel_filterbank,
    mel_frequencies,
    mel_to_mfcc,
    mfcc,
    mfcc_to_mel,
    speaker_normalize,
)
from ser_utils.features.store import RAVDESS_FEATURES, FeatureSet, extract_features, load_features, save_features

__all__ = [
    "CONTOUR_CONFIG", "CONTOUR_FRAMES", "DESCRIPTORS", "RAVDESS_FEATURES", "FeatureConfig", "FeatureSet",
    "compute_descriptors", "dct_matrix", "delta", "extract_features", "extract_mfcc", "functionals", "load_features",
    "log_mel_spectrogram", "mel_filterbank", "mel_frequencies", "mel_to_mfcc", "mfcc", "mfcc_mean_contour",
    "mfcc_to_mel", "save_features", "speaker_normalize",
]
