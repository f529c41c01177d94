"""What a distillation is compared with: contrastive training, whitening, PCA of the teacher.

    train_simcse(SimcseRecipe(backbone="minilm", nli=NliRecipe(sources=("allnli",))), Path("run"))
    whiten("run/model", CorpusRecipe(sources=("sentences.txt",)), Path("whitened"), dim=128)
    pca("mpnet", CorpusRecipe(sources=("sentences.txt",)), Path("cut"), dim=128)

Each leaves a model directory like any other.
"""

from hpdistill.baselines.reduce import Reduced, pca, reduced_table, whiten
from hpdistill.baselines.simcse import ContrastivelyTrained, simcse_table, train_simcse

__all__ = [
    "ContrastivelyTrained",
    "Reduced",
    "pca",
    "reduced_table",
    "simcse_table",
    "train_simcse",
    "whiten",
]
