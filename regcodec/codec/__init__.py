"""Pixels to .rgc bytes and back: packs, transforms (onnxruntime), encoder and decoder."""
