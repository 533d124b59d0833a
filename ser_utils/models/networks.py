"""Network architectures in Keras 3: functions that build a `keras.Model` from MFCC sequences to class probabilities.

All models have two inputs: ``frames [shape=(batch, n_frames, n_mfcc)]``, standardized MFCCs padded with zeros, and
``mask [shape=(batch, n_frames, 1)]``, 1 on frames of the clip and 0 on padding. The mask is applied after each layer
that writes to the padding, so neither padding nor the other clips of a batch change a prediction.

Importing this module imports TensorFlow. The other modules of the package import it inside functions.
"""

import logging
import os
from functools import partial

# While it is imported, TensorFlow writes oneDNN and absl messages to file descriptor 2 in spite of
# TF_CPP_MIN_LOG_LEVEL; later its Python logger, whose level the import resets, warns of each new clip length.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_stderr = os.dup(2)
try:
    with open(os.devnull, "w") as _null:
        os.dup2(_null.fileno(), 2)
    import keras
    from keras import layers, ops
finally:
    os.dup2(_stderr, 2)
    os.close(_stderr)
logging.getLogger("tensorflow").setLevel(logging.ERROR)

EPSILON = 1e-4  # under the square root, whose gradient at 0 is infinite


@keras.saving.register_keras_serializable("ser_utils")
class AttentiveStatisticsPooling(layers.Layer):
    """Pool a sequence into the attention-weighted mean and standard deviation of each channel.

    The layer is that of [1]_. A frame's attention weight is the softmax over time of ``score(tanh(hidden(x)))``.

    Parameters
    ----------
    units : int, default 64
        Units of the hidden attention layer.
    **kwargs
        Arguments of `keras.layers.Layer`.

    References
    ----------
    .. [1] K. Okabe, T. Koshinaka and K. Shinoda, "Attentive statistics pooling for deep speaker embedding",
       Interspeech, 2018, doi:10.21437/Interspeech.2018-993.

    Examples
    --------
    >>> import numpy as np
    >>> x, mask = np.ones((2, 20, 5), "float32"), np.ones((2, 20, 1), "float32")
    >>> statistics = AttentiveStatisticsPooling()(x, mask)  # five means, five standard deviations
    >>> tuple(statistics.shape)
    (2, 10)
    >>> [round(float(value), 2) for value in statistics[0]]  # sqrt(EPSILON) in place of 0
    [1.0, 1.0, 1.0, 1.0, 1.0, 0.01, 0.01, 0.01, 0.01, 0.01]
    """

    def __init__(self, units=64, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden = layers.Dense(units, activation="tanh")
        self.score = layers.Dense(1)

    def build(self, x_shape, mask_shape=None):
        """Create the weights for a given number of channels.

        Parameters
        ----------
        x_shape : tuple
            Shape of the sequences.
        mask_shape : tuple, optional
            Not used.
        """
        self.hidden.build(x_shape)
        self.score.build((*x_shape[:-1], self.units))

    def call(self, x, mask):
        """Compute the statistics.

        Parameters
        ----------
        x : tensor [shape=(batch, n_frames, n_channels)]
            Sequences.
        mask : tensor [shape=(batch, n_frames, 1)]
            1 on frames of the clip, 0 on padding.

        Returns
        -------
        tensor [shape=(batch, 2 * n_channels)]
            Means, then standard deviations.
        """
        weights = ops.softmax(self.score(self.hidden(x)) - 1e4 * (1 - mask), axis=1)
        mean = ops.sum(weights * x, axis=1)
        variance = ops.sum(weights * ops.square(x - mean[:, None]), axis=1)
        return ops.concatenate([mean, ops.sqrt(variance + EPSILON)], axis=-1)

    def get_config(self):
        """Return the configuration of the layer.

        Returns
        -------
        dict
            Arguments that recreate the layer.
        """
        return {**super().get_config(), "units": self.units}


def conv_block(x, mask, filters, kernel_size, strides=1):
    """Apply convolution over time, batch normalization, ReLU and the mask.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, n_channels)]
        Sequences, padded with zeros.
    mask : tensor [shape=(batch, n_frames, 1)]
        1 on frames of the clip, 0 on padding.
    filters : int
        Number of filters.
    kernel_size : int
        Width of the kernels in frames.
    strides : int, default 1
        Frames between consecutive positions of the kernels.

    Returns
    -------
    x : tensor [shape=(batch, ceil(n_frames / strides), filters)]
        Output, 0 on padding.
    mask : tensor [shape=(batch, n_frames // strides, 1)]
        Mask at the new frame rate. `n_frames` must be a multiple of `strides`, as `pad_sequences` makes it.
    """
    x = layers.Conv1D(filters, kernel_size, strides=strides, padding="same", use_bias=False)(x)
    mask = layers.MaxPooling1D(strides)(mask) if strides > 1 else mask
    x = layers.BatchNormalization(momentum=0.9)(x, mask=ops.squeeze(mask, -1) > 0)
    return layers.ReLU()(x) * mask, mask


def conv_stem(x, mask, width, dropout):
    """Apply two convolutional blocks that reduce the frame rate to an eighth: the first layers of `crnn` and `cnn`.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, n_mfcc)]
        MFCCs.
    mask : tensor [shape=(batch, n_frames, 1)]
        1 on frames of the clip, 0 on padding.
    width : int
        Filters of each convolution.
    dropout : float in [0, 1)
        The spatial dropout after each block has a third of this rate.

    Returns
    -------
    x : tensor [shape=(batch, n_frames // 8, width)]
        Output.
    mask : tensor [shape=(batch, n_frames // 8, 1)]
        1 on frames of the clip, 0 on padding, at the reduced frame rate.
    """
    x = x * mask
    for strides in (2, 1):
        x, mask = conv_block(x, mask, width, 5, strides)
        # Padding is 0 and a ReLU output is never below it: the maximum of a frame and padding is the frame
        x, mask = layers.MaxPooling1D(2)(x), layers.MaxPooling1D(2)(mask)
        x = layers.SpatialDropout1D(dropout / 3)(x)
    return x, mask


def masked_mean(x, mask):
    """Average each channel over the frames of the clip.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, n_channels)]
        Sequences.
    mask : tensor [shape=(batch, n_frames, 1)]
        1 on frames of the clip, 0 on padding.

    Returns
    -------
    tensor [shape=(batch, n_channels)]
        Means.

    Examples
    --------
    >>> import numpy as np
    >>> x, mask = np.array([[[2.0], [4.0], [0.0]]]), np.array([[[1.0], [1.0], [0.0]]])  # two frames and padding
    >>> masked_mean(x, mask).numpy().tolist()
    [[3.0]]
    """
    return ops.sum(x * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1)  # a clip of one frame has no change


def functionals(x, mask):
    """Summarize each channel by its mean, its standard deviation and the RMS of its change from frame to frame.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, n_channels)]
        Sequences.
    mask : tensor [shape=(batch, n_frames, 1)]
        1 on frames of the clip, 0 on padding.

    Returns
    -------
    tensor [shape=(batch, 3 * n_channels)]
        Means, standard deviations and RMS changes.

    Examples
    --------
    >>> import numpy as np
    >>> x, mask = np.ones((2, 20, 5), "float32"), np.ones((2, 20, 1), "float32")
    >>> tuple(functionals(x, mask).shape)
    (2, 15)
    """
    mean = masked_mean(x, mask)
    variance = masked_mean(ops.square(x - mean[:, None]), mask)
    mean_square_change = masked_mean(ops.square(x[:, 1:] - x[:, :-1]), mask[:, 1:])
    return ops.concatenate([mean, ops.sqrt(variance + EPSILON), ops.sqrt(mean_square_change + EPSILON)], axis=-1)


def classification_head(x, mask, n_classes, dropout, pooling="attention"):
    """Apply pooling over time, dropout and a softmax layer.

    Parameters
    ----------
    x : tensor [shape=(batch, n_frames, n_channels)]
        Sequences.
    mask : tensor [shape=(batch, n_frames, 1)]
        1 on frames of the clip, 0 on padding.
    n_classes : int
        Number of classes.
    dropout : float in [0, 1)
        Rate before the softmax layer.
    pooling : {"attention", "average"}, default "attention"
        `AttentiveStatisticsPooling`, or the mean over frames.

    Returns
    -------
    tensor [shape=(batch, n_classes)]
        Class probabilities.

    Raises
    ------
    ValueError
        If the pooling is unknown.
    """
    # before the pooling: layers draw their seeds in order of creation, and reported results depend on that order
    dropout_layer = layers.Dropout(dropout)
    if pooling not in ("attention", "average"):
        raise ValueError(f"pooling={pooling!r} is unknown; choose attention or average")
    x = AttentiveStatisticsPooling()(x, mask) if pooling == "attention" else masked_mean(x, mask)
    return layers.Dense(n_classes, activation="softmax")(dropout_layer(x))


def mlp(n_mfcc, n_classes, units=256, dropout=0.5):
    """Build a multilayer perceptron on functionals of the MFCCs.

    Mean, standard deviation and RMS of the frame-to-frame change of each coefficient, two dense layers, softmax. The
    order of the frames is lost.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    units : int, default 256
        Units of each dense layer.
    dropout : float in [0, 1), default 0.5
        Rate after each dense layer.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Examples
    --------
    >>> model = mlp(n_mfcc=40, n_classes=8)
    >>> model.input_shape, model.output_shape
    ([(None, None, 40), (None, None, 1)], (None, 8))
    """
    frames, mask = _inputs(n_mfcc)
    x = layers.BatchNormalization()(functionals(frames, mask))
    for _ in range(2):
        x = layers.Dense(units, activation="relu")(x)
        x = layers.Dropout(dropout)(x)
    probabilities = layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model([frames, mask], probabilities, name="mlp")


def lstm(n_mfcc, n_classes, units=64, bidirectional=True, pooling="average", dropout=0.3):
    """Build an LSTM over the frames.

    One LSTM layer [1]_, in one or both directions, the mean of its outputs or its last output, softmax.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    units : int, default 64
        Units per direction.
    bidirectional : bool, default True
        Add a second LSTM over the frames in reverse order.
    pooling : {"average", "last"}, default "average"
        Mean over all frames, or the final state of each direction.
    dropout : float in [0, 1), default 0.3
        Rate before the softmax layer.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Raises
    ------
    ValueError
        If the pooling is unknown.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997,
       doi:10.1162/neco.1997.9.8.1735.

    Examples
    --------
    >>> import numpy as np
    >>> x, mask = np.ones((3, 64, 40), "float32"), np.ones((3, 64, 1), "float32")
    >>> lstm(n_mfcc=40, n_classes=8, units=16)([x, mask]).shape
    TensorShape([3, 8])
    """
    if pooling not in ("average", "last"):
        raise ValueError(f"pooling={pooling!r} is unknown; choose average or last")
    frames, mask = _inputs(n_mfcc)
    layer = layers.LSTM(units, return_sequences=pooling == "average")
    layer = layers.Bidirectional(layer) if bidirectional else layer
    x = layer(frames, mask=ops.squeeze(mask, -1) > 0)
    x = masked_mean(x, mask) if pooling == "average" else x
    x = layers.Dropout(dropout)(x)
    probabilities = layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model([frames, mask], probabilities, name="lstm")


def cnn(n_mfcc, n_classes, width=128, dropout=0.3, pooling="average"):
    """Build a one-dimensional CNN over the frames.

    Four convolutional blocks over time, global average pooling, softmax.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    width : int, default 128
        Filters of each convolution.
    dropout : float in [0, 1), default 0.3
        Rate before the softmax layer; a third of it after each convolutional block.
    pooling : {"average", "attention"}, default "average"
        See `classification_head`.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Examples
    --------
    >>> import numpy as np
    >>> from ser_utils.models.augment import pad_sequences
    >>> clip, model = np.ones((20, 40), "float32"), cnn(n_mfcc=40, n_classes=8, width=16)
    >>> short, long = (model(pad_sequences([clip], n_frames)) for n_frames in (32, 64))
    >>> bool(np.allclose(short, long, atol=1e-5))  # padding changes nothing
    True
    """
    frames, frame_mask = _inputs(n_mfcc)
    x, mask = conv_stem(frames, frame_mask, width, dropout)
    for _ in range(2):
        x, mask = conv_block(x, mask, width, 5)
        x = layers.SpatialDropout1D(dropout / 3)(x)
    probabilities = classification_head(x, mask, n_classes, dropout, pooling)
    return keras.Model([frames, frame_mask], probabilities, name="cnn")


def cnn_attention(n_mfcc, n_classes, width=256, dropout=0.3):
    """Build the wider `cnn` with attentive statistics pooling.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    width : int, default 256
        Filters of each convolution.
    dropout : float in [0, 1), default 0.3
        As in `cnn`.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Examples
    --------
    >>> model = cnn_attention(n_mfcc=40, n_classes=8, width=16)
    >>> model.input_shape, model.output_shape
    ([(None, None, 40), (None, None, 1)], (None, 8))
    """
    return cnn(n_mfcc, n_classes, width, dropout, pooling="attention")


def tdnn(n_mfcc, n_classes, width=512, window=21, dropout=0.3):
    """Build a time-delay neural network (TDNN) with a single temporal context.

    As in [1]_, the same layers are applied to windows at different times: two dense layers to windows of `window`
    frames, every 4 frames, followed by attentive statistics pooling over the windows. They are written as convolutions
    with shared weights; the second has kernel size 1, so no layer models the order of the windows.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    width : int, default 512
        Units of each layer.
    window : int, default 21
        Frames in a window: 0.4 s at the default `FeatureConfig`.
    dropout : float in [0, 1), default 0.3
        Rate before the softmax layer; a third of it between the dense layers.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    References
    ----------
    .. [1] A. Waibel, T. Hanazawa, G. Hinton, K. Shikano and K. Lang, "Phoneme recognition using time-delay neural
       networks", IEEE Transactions on Acoustics, Speech, and Signal Processing 37(3), 1989, doi:10.1109/29.21701.

    Examples
    --------
    >>> tdnn(n_mfcc=40, n_classes=8).count_params()
    737417
    """
    frames, frame_mask = _inputs(n_mfcc)
    x, mask = conv_block(frames * frame_mask, frame_mask, width, window, strides=4)
    x = layers.SpatialDropout1D(dropout / 3)(x)
    x, mask = conv_block(x, mask, width, 1)
    return keras.Model([frames, frame_mask], classification_head(x, mask, n_classes, dropout), name="tdnn")


def crnn(n_mfcc, n_classes, width=256, lstm_units=128, dropout=0.3, residual=True, pooling="attention"):
    """Build a convolutional recurrent network (CRNN).

    Two convolutional blocks, an LSTM whose output is concatenated with its input, attentive statistics pooling,
    softmax. The connection around the LSTM follows ResLSTM [1]_; it reduces overfitting to the training speakers.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame.
    n_classes : int
        Number of classes.
    width : int, default 256
        Filters of each convolution.
    lstm_units : int, default 128
        Units of the LSTM.
    dropout : float in [0, 1), default 0.3
        Rate before the softmax layer; a third of it after each convolutional block.
    residual : bool, default True
        Concatenate the input of the LSTM with its output.
    pooling : {"attention", "average"}, default "attention"
        See `classification_head`.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    References
    ----------
    .. [1] D. Krasnoproshin and M. Vashkevich, "Speech emotion recognition using attention-based LSTM-network with
       residual connection", arXiv:2606.03359, 2026.

    Examples
    --------
    >>> import numpy as np
    >>> x, mask = np.ones((3, 64, 40), "float32"), np.ones((3, 64, 1), "float32")
    >>> p = crnn(n_mfcc=40, n_classes=8, width=16, lstm_units=16)([x, mask]).numpy()
    >>> p.shape, bool(np.allclose(p.sum(axis=1), 1))
    ((3, 8), True)
    """
    frames, frame_mask = _inputs(n_mfcc)
    x, mask = conv_stem(frames, frame_mask, width, dropout)
    lstm_output = layers.LSTM(lstm_units, return_sequences=True)(x, mask=ops.squeeze(mask, -1) > 0) * mask
    x = layers.Concatenate()([x, lstm_output]) if residual else lstm_output
    probabilities = classification_head(x, mask, n_classes, dropout, pooling)
    return keras.Model([frames, frame_mask], probabilities, name="crnn")


@keras.saving.register_keras_serializable("ser_utils")
class LayerWeights(layers.Layer):
    """Multiply each layer of a pretrained encoder by a trainable weight; the weights have a mean of 1.

    SUPERB [1]_ sums the weighted layers; here they are concatenated.

    Parameters
    ----------
    n_layers : int
        Number of layers side by side in the input.
    **kwargs
        Arguments of `keras.layers.Layer`.

    References
    ----------
    .. [1] S. Yang et al., "SUPERB: Speech processing universal performance benchmark", Interspeech, 2021,
       doi:10.21437/Interspeech.2021-1775.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 2.0, 3.0, 4.0]]])  # two layers of two channels
    >>> LayerWeights(2)(x).numpy().tolist()  # before training
    [[[1.0, 2.0, 3.0, 4.0]]]
    """

    def __init__(self, n_layers, **kwargs):
        super().__init__(**kwargs)
        self.n_layers = n_layers

    def build(self, input_shape):
        """Create one weight per layer of the encoder.

        Parameters
        ----------
        input_shape : tuple
            Shape of the input.

        Raises
        ------
        ValueError
            If the number of channels is not a multiple of `n_layers`.
        """
        if input_shape[-1] % self.n_layers:
            raise ValueError(f"{input_shape[-1]} channels are not a multiple of n_layers={self.n_layers}; pass the "
                             "number of layers side by side")
        self.logits = self.add_weight(shape=(self.n_layers,), initializer="zeros", name="logits")

    def call(self, x):
        """Multiply the layers by their weights.

        Parameters
        ----------
        x : tensor [shape=(batch, n_frames, n_layers * n_channels)]
            The layers side by side.

        Returns
        -------
        tensor [shape=(batch, n_frames, n_layers * n_channels)]
            The weighted layers side by side.
        """
        weights = self.n_layers * ops.softmax(self.logits)
        return x * ops.repeat(weights, x.shape[-1] // self.n_layers)

    def get_config(self):
        """Return the configuration of the layer.

        Returns
        -------
        dict
            Arguments that recreate the layer.
        """
        return {**super().get_config(), "n_layers": self.n_layers}


def whisper_attention(n_features, n_classes, n_layers=4, dropout=0.5):
    """Build a classifier of the hidden states of a pretrained encoder.

    A weight for each of the encoder's layers, attentive statistics pooling, dropout, softmax.

    Parameters
    ----------
    n_features : int
        `n_layers` times the width of the encoder.
    n_classes : int
        Number of classes.
    n_layers : int, default 4
        Number of layers of the encoder.
    dropout : float in [0, 1), default 0.5
        Rate before the softmax layer.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Examples
    --------
    >>> whisper_attention(n_features=4 * 512, n_classes=8).count_params()
    163981
    """
    frames, mask = _inputs(n_features)
    probabilities = classification_head(LayerWeights(n_layers)(frames), mask, n_classes, dropout)
    return keras.Model([frames, mask], probabilities, name="whisper_attention")


def original_cnn(n_mfcc, n_classes, n_frames=216):
    """Build the CNN of the original project, layer by layer. It ignores the mask.

    Parameters
    ----------
    n_mfcc : int
        Number of coefficients per frame: 1 for the original project's feature, the mean MFCC of each frame.
    n_classes : int
        Number of classes.
    n_frames : int, default 216
        Length of the input in frames.

    Returns
    -------
    keras.Model
        Uncompiled model with the inputs frames and mask and class probabilities as output.

    Examples
    --------
    >>> model = original_cnn(n_mfcc=1, n_classes=10)
    >>> model.input_shape, model.output_shape
    ([(None, 216, 1), (None, 216, 1)], (None, 10))
    >>> [layer.filters for layer in model.layers if hasattr(layer, "filters")]
    [128, 128, 128, 128, 128, 128]
    """
    frames, frame_mask = _inputs(n_mfcc, n_frames)
    conv = partial(layers.Conv1D, 128, 5, padding="same", activation="relu")
    x = conv()(frames)
    x = conv()(x)
    x = layers.Dropout(0.1)(x)
    x = layers.MaxPooling1D(8)(x)
    for _ in range(3):
        x = conv()(x)
    x = conv()(layers.Dropout(0.2)(x))  # nested for the order of seeds, as in classification_head
    x = layers.Flatten()(x)
    probabilities = layers.Dense(n_classes, activation="softmax")(x)
    return keras.Model([frames, frame_mask], probabilities, name="original_cnn")


def _inputs(n_mfcc, n_frames=None):
    return keras.Input((n_frames, n_mfcc), name="frames"), keras.Input((n_frames, 1), name="mask")


NETWORKS = {build.__name__: build
            for build in (mlp, lstm, cnn, tdnn, crnn, cnn_attention, whisper_attention, original_cnn)}
