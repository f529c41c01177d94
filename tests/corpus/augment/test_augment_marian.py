"""Marian models through transformers, tiny and random: batches, order, and what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpdistill.corpus.augment import BackTranslator, MarianTranslator
from hpdistill.errors import WeightsError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, sentences: Callable[..., list[str]]) -> Path:
    """A Marian model with random weights, and a tokenizer of the tests' words."""
    import sentencepiece
    from transformers import MarianConfig, MarianMTModel

    folder = tmp_path_factory.mktemp("marian") / "model"
    folder.mkdir()
    text = folder.with_name("text.txt")
    text.write_text("\n".join(sentences(300)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "source"),
        vocab_size=80,
        minloglevel=2,
    )
    shutil.copyfile(folder / "source.model", folder / "target.spm")
    (folder / "source.model").rename(folder / "source.spm")
    pieces = [line.split("\t")[0] for line in (folder / "source.vocab").read_text().splitlines()]
    words = dict.fromkeys(["</s>", "<unk>", *(p for p in pieces if not p.startswith("<")), "<pad>"])
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"source_lang": "en", "target_lang": "es", "model_max_length": 64})
    )
    torch.manual_seed(5)
    config = MarianConfig(
        vocab_size=len(words),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=16,
        init_std=1.0,
        pad_token_id=len(words) - 1,
        decoder_start_token_id=len(words) - 1,
        eos_token_id=0,
        bos_token_id=0,
        forced_eos_token_id=0,
        max_length=12,
    )
    MarianMTModel(config).save_pretrained(folder)
    return folder


def test_batches_do_not_show(model, sentences):
    texts = sentences(12, seed=4)
    whole = MarianTranslator(str(model), batch_size=32).translate(texts)
    assert whole == MarianTranslator(str(model), batch_size=3).translate(texts)
    alone = MarianTranslator(str(model))
    assert whole == [alone.translate([text])[0] for text in texts]
    assert len(set(whole)) > 6
    assert all(whole)


def test_it_is_an_augmenter_there_and_back(model, sentences):
    there, back = MarianTranslator(str(model)), MarianTranslator(str(model))
    texts = ["", *sentences(3)]
    copies = BackTranslator(there, back).copies(texts)
    assert copies[0] == ""
    assert copies[1:] == back.translate([str(text) for text in there.translate(texts[1:])])


def test_the_weights_decide_its_identity(model, tmp_path):
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    one = dict(MarianTranslator(str(model)).identity)
    other = dict(MarianTranslator(str(copy)).identity)
    assert one["weights"] == other["weights"]
    data = (copy / "source.spm").read_bytes()
    (copy / "source.spm").write_bytes(data[:-1])
    assert MarianTranslator(str(copy)).identity["weights"] != one["weights"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: torch.save({}, m / "pytorch_model.bin"), "only as a pickle"),
        (lambda m: None, "has no model.safetensors"),
    ],
)
def test_only_safetensors(model, tmp_path, change, message):
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "model.safetensors").unlink()
    change(copy)
    with pytest.raises(WeightsError, match=message):
        MarianTranslator(str(copy))


def test_other_models_and_half_a_tokenizer_are_refused(model, student_dir, tmp_path):
    with pytest.raises(WeightsError, match="is no Marian model"):
        MarianTranslator(str(student_dir))
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "target.spm").unlink()
    with pytest.raises(WeightsError, match=r"lacks target\.spm"):
        MarianTranslator(str(copy))
