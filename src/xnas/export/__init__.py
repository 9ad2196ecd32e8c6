"""Networks leave as safetensors, ONNX, programs, timm and Hub folders, and come back.

Knows run folders and networks, and nothing of how they were trained.
"""
