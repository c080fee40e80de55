"""Taking a network out: ONNX built from layer specs, checked against PyTorch. Importing it does not import torch."""
