"""Quantization beyond conversion: where an int8 file loses accuracy, and int8 that is trained.

`report.py` compares an int8 file with its float model layer by layer; `training/` trains with
quantization. Conversion itself is in `tfcompress/litert/`.
"""
