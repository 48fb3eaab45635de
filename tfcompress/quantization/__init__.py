"""Quantization beyond conversion: where an int8 file loses accuracy, and int8 that is trained.

`report.py` reports the error of an int8 file layer by layer; `training/` trains with quantization.
Conversion and the comparison of two files are in `tfcompress/litert/`.
"""
