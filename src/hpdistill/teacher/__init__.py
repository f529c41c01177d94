"""Teacher embeddings: computed once, kept in a sharded, resumable store."""

from hpdistill.teacher.embed import (
    EmbeddedCorpus,
    StoredEncoder,
    embed_corpus,
    encoder_identity,
    fill,
    open_store,
)
from hpdistill.teacher.joint import (
    JointEncoder,
    ProjectedEncoder,
    Remembering,
    load_teacher,
    side_by_side,
)
from hpdistill.teacher.store import Store, text_hash

__all__ = [
    "EmbeddedCorpus",
    "JointEncoder",
    "ProjectedEncoder",
    "Remembering",
    "Store",
    "StoredEncoder",
    "embed_corpus",
    "encoder_identity",
    "fill",
    "load_teacher",
    "open_store",
    "side_by_side",
    "text_hash",
]
