"""The columns of the paper's tables, each with the model and the formula of its public code.

Weights are not redistributed: `--weights DIR` names a folder with one folder a model (docs/weights.md).
"""
