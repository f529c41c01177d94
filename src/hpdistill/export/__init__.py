"""Export: one graph of a whole model for ONNX Runtime, in float32 and int8, compared and timed."""

from hpdistill.export.model import PARITY_SENTENCES, Exported, export_model

__all__ = ["PARITY_SENTENCES", "Exported", "export_model"]
