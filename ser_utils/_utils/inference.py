"""Sessions of onnxruntime."""


def open_session(content, *, optimize=True):
    """Open an ONNX model for inference on one thread.

    Parameters
    ----------
    content : bytes
        Serialized ONNX model.
    optimize : bool, default True
        Optimize the graph when loading.

    Returns
    -------
    onnxruntime.InferenceSession
        Session on one thread of the CPU.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
