"""Export: one graph of a whole model for ONNX Runtime, in float32 and int8, compared and timed."""

from hpdistill.export.model import Exported, export_model

__all__ = ["Exported", "export_model"]
