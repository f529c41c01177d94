"""A shape is what is written, what is not written stays, and what cannot be is named."""

import pytest
from transformers import BertConfig, BertModel, MPNetConfig, T5Config

from hpdistill.errors import UsageError
from hpdistill.recipe import Shape, Sizes, StudentSpec

MINILM = {
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
}


@pytest.mark.parametrize(
    ("text", "model", "shape"),
    [
        (
            "layers=4,width=312,heads=12,ffn=1200",
            "minilm",
            Shape(layers=4, width=312, heads=12, ffn=1200),
        ),
        ("", "minilm", Shape()),
        ("from=mpnet", "mpnet", Shape()),
        ("layers=0+2+5", "minilm", Shape(layers=(0, 2, 5))),
        ("layers=0", "minilm", Shape(layers=(0,))),
        ("width=8,from=C:/my,models/a", "C:/my,models/a", Shape(width=8)),
        (" ffn = 7 , from = org/model ", "org/model", Shape(ffn=7)),
    ],
)
def test_a_shape_is_parsed(text: str, model: str, shape: Shape) -> None:
    assert StudentSpec.parse(f"shape:{text}") == StudentSpec(model, shape=shape)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=4", "'depth' is not known; allowed: from=MODEL, layers=4"),
        ("minilm", "'minilm' is not known"),
        ("width=8,width=9", "'width' is given twice"),
        ("width=", "width is ''; allowed: a whole number above 0"),
        ("heads=0", "heads is '0'; allowed: a whole number above 0"),
        ("ffn=-3", "ffn is '-3'"),
        ("width=3.5", "width is '3.5'"),
        ("layers=2+0", "layers is '2\\+0'; allowed: layer numbers in rising order"),
        ("layers=1+1", "rising order"),
        ("layers=1+", "layers is '1\\+'; allowed: a number of layers, or which, as in 0\\+2\\+4"),
        ("layers=some", "layers is 'some'; allowed: a whole number above 0"),
        ("from=", "from names no model"),
    ],
)
def test_a_shape_that_means_nothing_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        StudentSpec.parse(f"shape:{text}")
    assert "\n" not in str(caught.value)


def test_a_model_called_shape_is_a_model() -> None:
    assert StudentSpec.parse("shape") == StudentSpec("shape")
    assert StudentSpec.parse("./shape:x") == StudentSpec("./shape:x")


def test_what_is_not_chosen_stays_as_in_the_source() -> None:
    sizes = Shape().settle(BertConfig(**MINILM))
    assert sizes == Sizes(layers=(0, 1, 2, 3, 4, 5), width=384, heads=12, ffn=1536)
    assert Shape(width=96).settle(BertConfig(**MINILM)).head_width == 8


@pytest.mark.parametrize(
    ("count", "total", "layers"),
    [
        (1, 6, (0,)),
        (2, 6, (0, 5)),
        (3, 12, (0, 6, 11)),
        (4, 6, (0, 2, 4, 5)),
        (4, 12, (0, 4, 8, 11)),
        (6, 6, (0, 1, 2, 3, 4, 5)),
    ],
)
def test_layers_are_chosen_evenly(count: int, total: int, layers: tuple[int, ...]) -> None:
    config = BertConfig(**MINILM | {"num_hidden_layers": total})
    assert Shape(layers=count).settle(config).layers == layers


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(layers=7), "layers is 7; the source allows 1 to 6"),
        (Shape(layers=(0, 6)), "layer 6 does not exist; the source has layers 0 to 5"),
        (Shape(width=768), "width is 768; the source allows 1 to 384"),
        (Shape(heads=24), "heads is 24; the source allows 1 to 12"),
        (Shape(ffn=2000), "ffn is 2000; the source allows 1 to 1536"),
        (
            Shape(width=256),
            "width 256 is not divisible by 12 heads; allowed heads: 1, 2, 4, 8$",
        ),
        (
            Shape(width=310, heads=12),
            "310 is not divisible by 12 heads; allowed heads: 1, 2, 5, 10",
        ),
    ],
)
def test_a_shape_that_the_source_cannot_have_is_named(shape: Shape, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shape.settle(BertConfig(**MINILM))


def test_another_architecture_is_refused() -> None:
    allowed = "allowed: encoders of type bert, mpnet, roberta, xlm-roberta"
    with pytest.raises(UsageError, match=f"a t5 backbone cannot be changed; {allowed}"):
        Shape(layers=2).settle(T5Config())
    with pytest.raises(UsageError, match=allowed):
        Shape(layers=2).settle(BertConfig(is_decoder=True))
    assert Shape(layers=2).settle(MPNetConfig()).layers == (0, 11)


def test_the_shape_of_tinybert_has_its_14_million_parameters() -> None:
    import torch

    sizes = Shape(layers=4, width=312, heads=12, ffn=1200).settle(BertConfig(**MINILM))
    config = BertConfig(
        vocab_size=30522,
        hidden_size=sizes.width,
        num_hidden_layers=len(sizes.layers),
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
    )
    with torch.device("meta"):
        model = BertModel(config)
    # TinyBERT_General_4L_312D has as many.
    assert sum(weight.numel() for weight in model.parameters()) == 14_350_248
