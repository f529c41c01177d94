"""PCA over shards is PCA of the whole, ordered, orthonormal and the same every time."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hpdistill.encoder import unit
from hpdistill.errors import UsageError, WeightsError
from hpdistill.projection import Covariance, Projection, check_dim, fit_pca

COUNT, WIDTH = 240, 12


def cloud(count: int = COUNT, width: int = WIDTH, *, seed: int = 0) -> NDArray[np.float32]:
    """Vectors whose variances along a rotated basis fall clearly, around a mean that is not 0."""
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    spread = 2.0 ** -np.arange(width)
    return (generator.normal(size=(count, width)) * spread @ rotation + 0.3).astype(np.float32)


def signed(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    return rows * np.sign(largest)[:, None]


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_streamed_pca_is_the_svd_of_the_whole_matrix(offset: float) -> None:
    vectors = cloud() + np.float32(offset)
    exact = vectors.astype(np.float64)
    _, singular, rows = np.linalg.svd(exact - exact.mean(axis=0), full_matrices=False)
    projection = fit_pca(np.array_split(vectors, 7), 6)
    np.testing.assert_allclose(projection.components, signed(rows[:6]), atol=1e-4)
    variance = singular**2 / (COUNT - 1)
    np.testing.assert_allclose(projection.explained_variance, variance[:6], rtol=1e-4)
    np.testing.assert_allclose(projection.mean, exact.mean(axis=0), rtol=1e-6)
    assert projection.total_variance == pytest.approx(variance.sum(), rel=1e-4)
    assert projection.explained_share == pytest.approx(
        variance[:6].sum() / variance.sum(), rel=1e-5
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(0, COUNT), max_size=12))
def test_any_sharding_gives_the_same_projection(cuts: list[int]) -> None:
    vectors = cloud()
    whole = fit_pca([vectors], 6)
    parts = fit_pca(np.split(vectors, sorted(cuts)), 6)  # empty shards among them
    np.testing.assert_allclose(parts.components, whole.components, atol=1e-5)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(parts.explained_variance, whole.explained_variance, rtol=1e-5)
    assert parts.total_variance == pytest.approx(whole.total_variance, rel=1e-9)


def test_shards_larger_than_a_block_are_taken_in_whole() -> None:
    vectors = cloud(20_000, 4)
    covariance = Covariance(4)
    covariance.add(vectors)
    assert covariance.count == 20_000
    exact = vectors.astype(np.float64)
    np.testing.assert_allclose(covariance.mean, exact.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(covariance.matrix, np.cov(exact.T), rtol=1e-8)


def test_shards_are_read_once() -> None:
    vectors = cloud()
    streamed = fit_pca((shard for shard in np.array_split(vectors, 3)), 2)
    np.testing.assert_allclose(streamed.components, fit_pca([vectors], 2).components, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 5, WIDTH])
def test_rows_are_orthonormal_and_ordered(dim: int) -> None:
    projection = fit_pca([cloud()], dim)
    assert projection.components.shape == (dim, WIDTH)
    assert (projection.dim, projection.width) == (dim, WIDTH)
    products = projection.components @ projection.components.T
    np.testing.assert_allclose(products, np.eye(dim), atol=1e-5)
    assert (np.diff(projection.explained_variance) <= 0).all()
    assert (projection.explained_variance >= 0).all()


def test_a_smaller_projection_is_a_prefix_of_a_larger() -> None:
    large, small = fit_pca([cloud()], 8), fit_pca([cloud()], 3)
    np.testing.assert_array_equal(large.components[:3], small.components)
    np.testing.assert_array_equal(large.apply(cloud())[:, :3], small.apply(cloud()))


def test_a_known_answer() -> None:
    # Two points on each axis, 3, 2 and 1 from the origin: variances 2 * 9/5, 2 * 4/5, 2 * 1/5.
    vectors = np.array(
        [[0, 0, 3], [0, 0, -3], [2, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32
    )
    projection = fit_pca([vectors], 2)
    np.testing.assert_allclose(projection.components, [[0, 0, 1], [1, 0, 0]], atol=1e-7)
    np.testing.assert_allclose(projection.explained_variance, [18 / 5, 8 / 5], rtol=1e-6)
    assert projection.total_variance == pytest.approx(28 / 5)
    assert projection.explained_share == pytest.approx(26 / 28)


def test_the_largest_entry_of_each_row_is_positive() -> None:
    for seed in range(5):
        rows = fit_pca([cloud(seed=seed)], WIDTH).components
        assert (rows[np.arange(WIDTH), np.abs(rows).argmax(axis=1)] > 0).all()


def test_signs_do_not_depend_on_the_order_of_the_vectors() -> None:
    vectors = cloud()
    forwards, backwards = fit_pca([vectors], 8), fit_pca([vectors[::-1]], 8)
    np.testing.assert_allclose(forwards.components, backwards.components, atol=1e-4)
    again = fit_pca([vectors], 8)
    np.testing.assert_array_equal(forwards.components, again.components)


def test_centring_only_shifts_what_comes_out() -> None:
    vectors = cloud()
    plain, centred = fit_pca([vectors], 5), fit_pca([vectors], 5, centred=True)
    assert (plain.centred, centred.centred) == (False, True)
    np.testing.assert_array_equal(plain.components, centred.components)
    shift = plain.mean @ plain.components.T
    np.testing.assert_allclose(plain.apply(vectors), centred.apply(vectors) + shift, atol=1e-5)
    np.testing.assert_allclose(centred.apply(vectors).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(
        centred.apply(vectors).var(axis=0, ddof=1), plain.explained_variance, rtol=1e-3
    )


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_partial_whitening_divides_by_a_power_of_the_deviations(power: float) -> None:
    vectors = cloud()
    plain, partly = fit_pca([vectors], 5), fit_pca([vectors], 5, whitening=power)
    deviations = np.sqrt(plain.explained_variance)
    expected = plain.components / (deviations / deviations[0])[:, None] ** power
    np.testing.assert_allclose(partly.components, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(partly.explained_variance, plain.explained_variance)


@pytest.mark.parametrize("power", [-0.1, 1.1])
def test_a_power_out_of_range_is_refused(power: float) -> None:
    with pytest.raises(UsageError, match=rf"whitening is {power}; allowed: 0 to 1"):
        fit_pca([cloud()], 5, whitening=power)


def test_all_of_a_whitening_makes_components_vary_alike() -> None:
    vectors = cloud()
    whitened = fit_pca([vectors], 5, whitening=1.0).apply(vectors)
    np.testing.assert_allclose(whitened.std(axis=0) / whitened[:, 0].std(), 1, rtol=1e-4)


@pytest.mark.parametrize("vectors", [np.zeros((9, 4), np.float32), np.eye(9, 4, dtype=np.float32)])
def test_partial_whitening_bears_directions_without_variance(
    vectors: NDArray[np.float32],
) -> None:
    assert np.isfinite(fit_pca([vectors], 4, whitening=0.5).components).all()


def test_a_full_width_projection_keeps_cosines() -> None:
    vectors = cloud()
    before, after = unit(vectors), unit(fit_pca([vectors], WIDTH).apply(vectors))
    np.testing.assert_allclose(after @ after.T, before @ before.T, atol=1e-5)


def test_what_comes_out_is_float32_whatever_goes_in() -> None:
    projection = fit_pca([cloud()], 3, centred=True)
    assert projection.apply(cloud().astype(np.float64)).dtype == np.float32
    assert projection.apply(cloud().astype(np.float16)).dtype == np.float32
    assert projection.apply(cloud()[:0]).shape == (0, 3)


def test_vectors_of_another_width_are_refused() -> None:
    projection = fit_pca([cloud()], 3)
    with pytest.raises(UsageError, match=f"width 7 .* takes {WIDTH}"):
        projection.apply(np.zeros((2, 7), np.float32))


@pytest.mark.parametrize("dim", [0, -1])
def test_a_dim_below_1_is_refused(dim: int) -> None:
    with pytest.raises(UsageError, match=f"dim is {dim}; allowed: 1 to {WIDTH}"):
        fit_pca([cloud()], dim)


def test_a_dim_over_the_width_is_refused() -> None:
    with pytest.raises(UsageError, match=rf"dim {WIDTH + 1} .* allowed: 1 to {WIDTH}"):
        fit_pca([cloud()], WIDTH + 1)


def test_a_dim_over_the_number_of_vectors_is_refused() -> None:
    vectors = cloud(5)
    with pytest.raises(UsageError, match=r"dim 6 needs at least 6 .* there are 5") as caught:
        fit_pca([vectors[:3], vectors[3:]], 6)
    assert "smaller `dim`" in caught.value.hint
    assert fit_pca([vectors], 5).dim == 5


def test_no_vectors_are_refused() -> None:
    with pytest.raises(UsageError, match="no embeddings"):
        fit_pca([], 3)
    with pytest.raises(UsageError, match="there are 0"):
        fit_pca([cloud()[:0]], 3)


def test_the_largest_dim_is_allowed() -> None:
    check_dim(8, width=8, sentences=8)
    for bad in (0, 9):
        with pytest.raises(UsageError):
            check_dim(bad, width=8, sentences=100)
    with pytest.raises(UsageError):
        check_dim(8, width=8, sentences=7)


@pytest.mark.parametrize("centred", [False, True])
def test_a_projection_comes_back_from_disk(tmp_path: Path, centred: bool) -> None:
    path = tmp_path / "model" / "projection.safetensors"
    projection = fit_pca([cloud()], 5, centred=centred)
    projection.save(path)
    again = Projection.load(path)
    for item in dataclasses.fields(Projection):
        np.testing.assert_array_equal(getattr(again, item.name), getattr(projection, item.name))
    assert again.centred is centred
    np.testing.assert_array_equal(again.apply(cloud()), projection.apply(cloud()))
    assert [file.name for file in path.parent.iterdir()] == ["projection.safetensors"]


def test_equal_projections_are_equal_files(tmp_path: Path) -> None:
    contents = set()
    for number in range(8):
        fit_pca([cloud()], 5).save(tmp_path / f"{number}.safetensors")
        contents.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(contents) == 1


def test_a_file_that_is_no_projection_is_named(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    fit_pca([cloud()], 5).save(good)
    whole = good.read_bytes()
    bad = tmp_path / "bad.safetensors"
    with pytest.raises(WeightsError, match=r"bad\.safetensors is not a projection"):
        Projection.load(bad)  # missing
    for content in (b"", b"{}", whole[:40], whole[:-8], b"\x80\x04pickle" * 9):
        bad.write_bytes(content)
        with pytest.raises(WeightsError, match=r"bad\.safetensors is not a projection"):
            Projection.load(bad)


def test_tensors_of_something_else_are_named(tmp_path: Path) -> None:
    path = tmp_path / "dense.safetensors"
    save_file({"linear.weight": np.zeros((2, 3), np.float32)}, path)
    with pytest.raises(WeightsError, match=r"dense\.safetensors is not a projection"):
        Projection.load(path)
    tensors = {"components": np.eye(3, dtype=np.float32), "mean": np.zeros(3, np.float32)}
    save_file(tensors, path, metadata={"projection": '{"centred": false, "total_variance": 1}'})
    with pytest.raises(WeightsError, match="explained_variance"):
        Projection.load(path)
    tensors["explained_variance"] = np.zeros(3, np.float32)
    save_file(
        tensors, path, metadata={"projection": '{"centred": false, "total_variance": "much"}'}
    )
    with pytest.raises(WeightsError, match="much"):
        Projection.load(path)


def test_a_teacher_without_variance_has_a_share_without_a_warning() -> None:
    same = np.ones((20, 4), np.float32) / 2
    assert 0 <= fit_pca([same], 2).explained_share <= 1
