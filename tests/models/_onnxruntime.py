"""A network in ONNX as onnxruntime computes it."""


def outputs(onnxruntime, path, images):
    """Of a file whose input is named ``images``, exactly: its default saturates without VNNI."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    return session.run(None, {"images": images.numpy()})[0]
