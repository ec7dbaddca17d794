"""Convolutions against SciPy, against loops over the definition, and against PyTorch where it is there."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import signal

import chainrule as cr
from chainrule.nn import functional as F
from chainrule.ops import convolution as module
from chainrule.ops.convolution import convolve, convolve_input, convolve_weight

rng = np.random.default_rng(0)


def normal(*shape: int, dtype: Any = np.float64) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def leaf(array: np.ndarray) -> Any:
    return cr.from_numpy(array.copy()).requires_grad_()


def by_definition(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> np.ndarray:
    """The sum over channels and kernel places, position by position."""
    count = w.ndim - 2
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    sizes = [
        (n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[2:], dilation, w.shape[2:], stride, strict=True)
    ]
    out = np.zeros((x.shape[0], w.shape[0], *sizes), np.result_type(x, w))
    inputs, outputs = w.shape[1], w.shape[0] // groups
    for n, o, position in itertools.product(range(x.shape[0]), range(w.shape[0]), np.ndindex(*sizes)):
        first = o // outputs * inputs
        window = tuple(
            slice(
                position[i] * stride[i], position[i] * stride[i] + dilation[i] * (w.shape[2 + i] - 1) + 1, dilation[i]
            )
            for i in range(count)
        )
        out[(n, o, *position)] = np.sum(x[(n, slice(first, first + inputs), *window)] * w[o])
    return out


OPERATIONS = {1: (F.conv1d, F.conv_transpose1d), 2: (F.conv2d, F.conv_transpose2d), 3: (F.conv3d, F.conv_transpose3d)}


def settings(count: int) -> Any:
    """stride, padding, dilation, groups."""
    return [
        ((1,) * count, (0,) * count, (1,) * count, 1),
        ((1,) * count, (1,) * count, (1,) * count, 2),
        ((2,) * count, (1,) * count, (1,) * count, 1),
        ((1,) * count, (2,) * count, (2,) * count, 4),
        (tuple(range(1, count + 1)), tuple(range(count)), tuple(range(count, 0, -1)), 2),
    ]


CASES = [(count, *setting) for count in (1, 2, 3) for setting in settings(count)]


@pytest.mark.parametrize("shape", [(7,), (6, 9), (4, 5, 6)])
def test_convolution_is_the_correlation_of_scipy_summed_over_channels(shape: tuple[int, ...]) -> None:
    x, w = normal(2, 3, *shape), normal(4, 3, *(3, 2, 3)[: len(shape)])
    expected = np.stack(
        [[sum(signal.correlate(image[c], kernel[c], "valid") for c in range(3)) for kernel in w] for image in x]
    )
    out = OPERATIONS[len(shape)][0](cr.from_numpy(x), cr.from_numpy(w))
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("count", "stride", "padding", "dilation", "groups"), CASES)
def test_convolution_is_what_its_definition_says(
    count: int, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    x, w, b = normal(2, 4, *(8, 7, 6)[:count]), normal(8, 4 // groups, *(3, 2, 2)[:count]), normal(8)
    out = OPERATIONS[count][0](*map(cr.from_numpy, (x, w, b)), stride, padding, dilation, groups)
    expected = by_definition(x, w, stride, padding, dilation, groups) + b.reshape(-1, *(1,) * count)
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("count", "stride", "padding", "dilation", "groups"), CASES)
def test_the_transposed_convolution_is_the_adjoint(
    count: int, stride: Any, padding: Any, dilation: Any, groups: int
) -> None:
    forward, transposed = OPERATIONS[count]
    g, w = normal(2, 8, *(4, 3, 4)[:count]), normal(8, 4 // groups, *(3, 2, 2)[:count])
    back = transposed(cr.from_numpy(g), cr.from_numpy(w), None, stride, padding, 0, groups, dilation).numpy()
    x = normal(*back.shape)
    out = forward(cr.from_numpy(x), cr.from_numpy(w), None, stride, padding, dilation, groups).numpy()
    assert out.shape == g.shape
    assert np.sum(out * g) == pytest.approx(np.sum(back * x), rel=1e-12)


@pytest.mark.parametrize("setting", settings(2))
@pytest.mark.parametrize("samples", [1, 5])
def test_work_in_blocks_gives_what_one_block_gives(monkeypatch: pytest.MonkeyPatch, setting: Any, samples: int) -> None:
    stride, padding, dilation, groups = setting
    x, w = normal(samples, 4, 9, 8), normal(8, 4 // groups, 3, 2)

    def results() -> list[Any]:
        leaves = [leaf(x), leaf(w)]
        out = F.conv2d(*leaves, None, stride, padding, dilation, groups)
        (out * out).sum().backward()
        return [out.detach().numpy(), *(t.grad.numpy() for t in leaves)]

    expected = results()
    for block, small in ((1, 10**9), (2000, 10**9), (1, 0), (2000, 0), (1 << 21, 0)):
        monkeypatch.setattr(module, "BLOCK", block)
        monkeypatch.setattr(module, "SMALL_PRODUCT", small)
        for got, want in zip(results(), expected, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("waste", [-100, 0, 10**6])
def test_columns_of_whole_planes_give_what_exact_columns_give(monkeypatch: pytest.MonkeyPatch, waste: int) -> None:
    monkeypatch.setattr(module, "WASTE", waste)
    module.layout_of.cache_clear()
    try:
        x, w = normal(3, 2, 6, 7), normal(4, 2, 3, 3)
        kw = {"stride": (1, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2), "groups": 1}
        out = convolve(x, w, size=(5, 6), **kw)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 1)))
        np.testing.assert_allclose(out, by_definition(padded, w, (1, 1), (0, 0), (1, 2), 1), atol=1e-12)
        g = normal(*out.shape)
        assert np.sum(convolve_input(g, w, size=(6, 7), **kw) * x) == pytest.approx(np.sum(out * g))
        assert np.sum(convolve_weight(x, g, size=(3, 3), **kw) * w) == pytest.approx(np.sum(out * g))
    finally:
        module.layout_of.cache_clear()


def test_what_lies_beyond_the_padding_never_leaks_into_a_gradient() -> None:
    x = normal(2, 1, 4, 4)
    x[1] = np.inf  # the columns of whole planes of sample 0 read some of it
    w, g = leaf(normal(1, 1, 3, 3)), np.zeros((2, 1, 2, 2))
    g[0] = 1.0
    out = F.conv2d(cr.from_numpy(x[:1]), w)
    out.backward(cr.from_numpy(g[:1]))
    assert np.all(np.isfinite(w.grad.numpy()))


@pytest.mark.parametrize("setting", settings(2))
def test_third_derivatives_pass_gradcheck(setting: Any) -> None:
    stride, padding, dilation, groups = setting
    x, w = leaf(normal(1, 4, 5, 4)), leaf(normal(4, 4 // groups, 2, 2))

    def second(x: Any, w: Any) -> Any:
        out = F.conv2d(x, w, None, stride, padding, dilation, groups)
        first = cr.autograd.grad((out**3).sum(), x, create_graph=True)[0]
        return cr.autograd.grad((first**2).sum(), w, create_graph=True)[0]

    assert cr.autograd.gradcheck(second, (x, w))


def test_same_padding_keeps_the_sizes_and_puts_the_odd_zero_at_the_end() -> None:
    x, w = normal(1, 1, 6), normal(1, 1, 4)
    out = F.conv1d(cr.from_numpy(x), cr.from_numpy(w), padding="same").numpy()
    expected = signal.correlate(np.pad(x[0, 0], (1, 2)), w[0, 0], "valid")
    np.testing.assert_allclose(out[0, 0], expected, rtol=1e-12)
    assert F.conv2d(cr.ones(1, 1, 6, 5), cr.ones(1, 1, 4, 3), padding="same", dilation=2).shape == (1, 1, 6, 5)
    valid = F.conv1d(cr.from_numpy(x), cr.from_numpy(w), padding="valid").numpy()
    np.testing.assert_allclose(valid[0, 0], signal.correlate(x[0, 0], w[0, 0], "valid"), rtol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_input_without_a_batch_gives_a_result_without_one(count: int) -> None:
    forward, transposed = OPERATIONS[count]
    x, w = cr.from_numpy(normal(3, *(5,) * count)), cr.from_numpy(normal(4, 3, *(2,) * count))
    np.testing.assert_allclose(forward(x, w).numpy(), forward(x.unsqueeze(0), w).numpy()[0])
    w = w.transpose(0, 1)
    np.testing.assert_allclose(transposed(x, w).numpy(), transposed(x.unsqueeze(0), w).numpy()[0])


def test_complex_convolution_is_four_real_ones() -> None:
    x, w = normal(2, 3, 6) + 1j * normal(2, 3, 6), normal(4, 3, 2) + 1j * normal(4, 3, 2)

    def real(a: Any, b: Any) -> Any:
        return F.conv1d(cr.from_numpy(a.copy()), cr.from_numpy(b.copy())).numpy()

    expected = real(x.real, w.real) - real(x.imag, w.imag) + 1j * (real(x.real, w.imag) + real(x.imag, w.real))
    np.testing.assert_allclose(F.conv1d(cr.from_numpy(x), cr.from_numpy(w)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.int64])
def test_the_result_has_the_type_of_the_input(dtype: Any) -> None:
    x, w, b = (np.ones(shape).astype(dtype) for shape in ((1, 2, 5, 5), (3, 2, 3, 3), (3,)))
    out = F.conv2d(*map(cr.from_numpy, (x, w, b)), padding=1)
    assert out.numpy().dtype == dtype
    assert out.numpy()[0, 0, 2, 2] == 19
    back = F.conv_transpose2d(*map(cr.from_numpy, (x, w.swapaxes(0, 1).copy(), b)))
    assert back.numpy().dtype == dtype
    assert back.numpy()[0, 0, 2, 2] == 19


def test_half_precision_is_summed_in_single_precision() -> None:
    x = np.full((1, 1, 4096), 1.0, np.float16)
    w = np.full((1, 1, 4096), 0.25, np.float16)
    assert F.conv1d(cr.from_numpy(x), cr.from_numpy(w)).item() == 1024  # in float16, 512 + 0.25 is 512


@pytest.mark.parametrize("make", [lambda a: a[:, :, ::-1], lambda a: a.transpose(0, 1, 3, 2), np.asfortranarray])
def test_memory_order_does_not_matter(make: Any) -> None:
    x, w = make(normal(2, 3, 6, 6)), make(normal(4, 3, 3, 3))
    for padding in (0, 1):
        out = F.conv2d(cr.from_numpy(x.copy()), cr.from_numpy(w.copy()), padding=padding).numpy()
        kw = {"stride": (1, 1), "padding": ((padding,) * 2,) * 2, "dilation": (1, 1), "groups": 1}
        np.testing.assert_allclose(convolve(x, w, size=out.shape[2:], **kw), out, rtol=1e-12, atol=1e-12)
        assert out.flags.c_contiguous
        np.testing.assert_allclose(
            convolve_weight(x, make(out), size=(3, 3), **kw),
            convolve_weight(x.copy(), make(out).copy(), size=(3, 3), **kw),
        )
    pointwise = F.conv2d(cr.from_numpy(x.copy()), cr.from_numpy(w[:, :, :1, :1].copy())).numpy()
    np.testing.assert_allclose(pointwise, np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0]), rtol=1e-12, atol=1e-12)


def test_an_empty_batch_and_no_channels_are_allowed() -> None:
    x, w = leaf(normal(0, 3, 5, 5)), leaf(normal(4, 3, 3, 3))
    out = F.conv2d(x, w)
    assert out.shape == (0, 4, 3, 3)
    out.sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), np.zeros((4, 3, 3, 3)))
    empty = F.conv2d(cr.zeros(2, 0, 5, 5), cr.zeros(4, 0, 3, 3), cr.ones(4))
    assert empty.shape == (2, 4, 3, 3)
    assert empty.sum().item() == 72


def test_output_padding_lengthens_the_end() -> None:
    x, w = cr.from_numpy(normal(1, 2, 3)), cr.from_numpy(normal(2, 1, 3))
    short = F.conv_transpose1d(x, w, stride=3).numpy()
    long = F.conv_transpose1d(x, w, stride=3, output_padding=2).numpy()
    np.testing.assert_allclose(long[..., : short.shape[-1]], short)
    np.testing.assert_array_equal(long[..., short.shape[-1] :], 0)
    wide = F.conv_transpose1d(leaf(normal(1, 2, 3)), leaf(normal(2, 1, 3)), dilation=3, output_padding=2)
    wide.sum().backward()  # more than the stride, which convolution's own sizes would not give


def test_one_number_stands_for_all_axes_and_a_list_of_one_as_well() -> None:
    x, w = cr.ones(1, 1, 6, 6), cr.ones(1, 1, 3, 3)
    assert F.conv2d(x, w, stride=2).shape == F.conv2d(x, w, stride=[2]).shape == F.conv2d(x, w, stride=(2, 2)).shape
    assert cr.convolution(x, w, None, [2], [0], [1], False, [0], 1).shape == (1, 1, 2, 2)
    assert cr.convolution(x, w, None, [2, 2], [0, 0], [1, 1], True, [1, 1], 1).shape == (1, 1, 14, 14)


def test_conv_tbc_is_conv1d_with_time_first() -> None:
    x, w, b = normal(6, 2, 3), normal(3, 3, 4), normal(4)
    out = cr.conv_tbc(*map(cr.from_numpy, (x, w, b)), pad=1).numpy()
    expected = by_definition(x.transpose(1, 2, 0), w.transpose(2, 1, 0), (1,), (1,), (1,), 1) + b[:, None]
    np.testing.assert_allclose(out, expected.transpose(2, 0, 1), rtol=1e-12, atol=1e-12)


# ----- sliding blocks -------------------------------------------------------------------------------------------------


def test_unfold_and_a_matrix_product_are_a_convolution() -> None:
    x, w = cr.from_numpy(normal(2, 3, 7, 6)), cr.from_numpy(normal(4, 3, 2, 3))
    columns = F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(1, 2))
    out = (w.reshape(4, -1) @ columns).reshape(2, 4, 7, 2)
    np.testing.assert_allclose(
        out.numpy(), F.conv2d(x, w, None, (1, 2), (1, 0), (2, 1)).numpy(), rtol=1e-12, atol=1e-12
    )


def test_fold_adds_up_what_unfold_took_apart() -> None:
    x = normal(2, 3, 6, 5)
    kw = {"kernel_size": (2, 3), "padding": 1, "stride": (2, 1)}
    counted = F.fold(F.unfold(cr.ones(2, 3, 6, 5, dtype=cr.float64), **kw), (6, 5), **kw).numpy()
    again = F.fold(F.unfold(cr.from_numpy(x), **kw), (6, 5), **kw).numpy()
    np.testing.assert_allclose(again, x * counted, rtol=1e-12)
    single = F.fold(F.unfold(cr.from_numpy(x[0]), **kw), (6, 5), **kw).numpy()
    np.testing.assert_allclose(single, again[0])


# ----- bad input ------------------------------------------------------------------------------------------------------

X, W = cr.ones(1, 3, 5, 5), cr.ones(8, 3, 3, 3)
ERRORS = [
    (lambda: F.conv2d(X, cr.ones(8, 4, 3, 3)), r"expected input\[1, 3, 5, 5\] to have 4 channels, but got 3 channels"),
    (lambda: F.conv2d(X, W, cr.ones(7)), r"bias to be 1-dimensional with 8 elements, but got bias of size \[7\]"),
    (lambda: F.conv2d(cr.ones(5, 5), W), r"3D \(unbatched\) or 4D \(batched\) input to conv2d, but got .* \[5, 5\]"),
    (lambda: F.conv2d(cr.ones(1, 1, 3, 5, 5), W), r"input to conv2d, but got input of size: \[1, 1, 3, 5, 5\]"),
    (lambda: F.conv2d(X, cr.ones(8, 3, 3)), r"expected 4-dimensional weight, but got weight of size \[8, 3, 3\]"),
    (lambda: F.conv2d(X, W, stride=0), r"non-positive stride is not supported, got stride=\[0, 0\]"),
    (lambda: F.conv2d(X, W, padding=-1), r"negative padding is not supported, got padding=\[-1, -1\]"),
    (lambda: F.conv2d(X, W, dilation=0), r"dilation should be greater than zero, but got \[0, 0\]"),
    (lambda: F.conv2d(X, W, groups=0), r"non-positive groups is not supported"),
    (lambda: F.conv2d(X, cr.ones(8, 1, 3, 3), groups=3), r"divisible by 3 at dimension 0.*\[8, 1, 3, 3\]"),
    (lambda: F.conv2d(X, cr.ones(2, 1, 3, 3), groups=3), r"at least 3 at dimension 0.*\[2, 1, 3, 3\]"),
    (lambda: F.conv2d(X, cr.ones(8, 3, 7, 7)), r"\(5 x 5\). Kernel size: \(7 x 7\). Kernel size can't be greater"),
    (lambda: F.conv2d(X, cr.ones(8, 3, 0, 3)), r"kernel size should be greater than zero"),
    (lambda: F.conv2d(X, W, stride=(1, 1, 1)), r"a list of 2 values.*stride=\[1, 1, 1\]"),
    (lambda: F.conv2d(X, W, padding="same", stride=2), r"padding='same' is not supported for strided convolutions"),
    (lambda: F.conv2d(X, W, padding="half"), r"Invalid padding string: 'half'"),
    (lambda: F.conv2d(X, W.double()), r"Input type \(float32\) and weight type \(float64\) should be the same"),
    (lambda: F.conv2d(X, W, cr.ones(8).double()), r"Input type \(float32\) and bias type \(float64\)"),
    (lambda: F.conv_transpose2d(X, cr.ones(4, 3, 3, 3)), r"transposed=1, .* to have 4 channels, but got 3 channels"),
    (lambda: F.conv_transpose2d(X, cr.ones(3, 4, 3, 3), output_padding=1), r"smaller than either stride or dilation"),
    (lambda: F.conv_transpose2d(X, cr.ones(3, 4, 3, 3), output_padding=-1), r"negative output_padding"),
    (lambda: F.conv_transpose2d(X, cr.ones(3, 4, 3, 3), padding=5), r"\(5 x 5\). Calculated .* \(-3 x -3\)"),
    (lambda: F.conv_transpose2d(X, cr.ones(3, 4, 3, 3), cr.ones(3)), r"4 elements, but got bias of size \[3\]"),
    (lambda: cr.conv_tbc(cr.ones(5, 3), cr.ones(3, 3, 4), cr.ones(4)), r"Input must have 3 dims"),
    (lambda: cr.convolution(X, cr.ones(8, 3), None, 1, 0, 1, False, 0, 1), r"at least three dimensions, got \[8, 3\]"),
    (lambda: F.unfold(X, 7), r"spatial size \(5, 5\), kernel_size=\(7, 7\).* as \(-1, -1\)"),
    (lambda: F.unfold(cr.ones(5, 5), 3), r"Expected 3D or 4D .* \[5, 5\]"),
    (lambda: F.unfold(X, 0), r"kernel size should be greater than zero, but got \[0, 0\]"),
    (lambda: F.unfold(X, 3, padding=-1), r"padding should be non-negative, but got \[-1, -1\]"),
    (lambda: F.unfold(X, (3, 3, 3)), r"kernel_size=\[3, 3, 3\]"),
    (lambda: F.fold(cr.ones(1, 26, 9), 5, 3), r"input.size\(1\)=26 and kernel_size=\(3, 3\)"),
    (lambda: F.fold(cr.ones(1, 27, 8), 5, 3), r"sliding blocks 3 \* 3, but got input.size\(2\)=8"),
    (lambda: F.fold(cr.ones(1, 27, 9), 1, 3), r"sliding blocks -1 \* -1, but got"),
    (lambda: F.fold(cr.ones(27), 5, 3), r"Expected 2D or 3D .* \[27\]"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_bad_input_raises_a_runtime_error_that_says_what_was_given(call: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        call()


def test_settings_that_are_no_integers_raise_a_type_error() -> None:
    with pytest.raises(TypeError, match="argument 'stride' must be tuple of ints, not float: 1.5"):
        F.conv2d(X, W, stride=1.5)
    with pytest.raises(TypeError, match="argument 'padding' must be tuple of ints, not str: 'same'"):
        F.conv_transpose2d(X, cr.ones(3, 4, 3, 3), padding="same")
    with pytest.raises(NotImplementedError, match="bool"):
        F.conv2d(X.bool(), W.bool())


def test_windows_that_reach_beyond_the_input_are_refused_before_memory_is_read() -> None:
    kw = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}
    with pytest.raises(
        RuntimeError, match=r"\(4,\) windows reach over \(6,\) elements, and the padded input has \(5,\)"
    ):
        convolve(normal(1, 1, 5), normal(1, 1, 3), size=(4,), **kw)


# ----- PyTorch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "stride", "padding", "dilation", "groups"), CASES)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", ["float32", "float64", "complex128"])
def test_results_and_gradients_are_those_of_pytorch(
    count: int, stride: Any, padding: Any, dilation: Any, groups: int, transposed: bool, kind: str
) -> None:
    torch = pytest.importorskip("torch")
    name = f"conv{'_transpose' if transposed else ''}{count}d"
    kernel = (3, 2, 2)[:count]
    shapes = [(2, 4, *(8, 7, 6)[:count]), (4, 8 // groups, *kernel) if transposed else (8, 4 // groups, *kernel), (8,)]
    arrays = [normal(*shape).astype(kind) for shape in shapes]
    if kind == "complex128":
        arrays = [a + 1j * normal(*a.shape) for a in arrays]
    keywords = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    got, want = [], []
    for library, results in ((cr, got), (torch, want)):
        leaves = [library.from_numpy(a.copy()).requires_grad_() for a in arrays]
        out = getattr(library.nn.functional, name)(*leaves, **keywords)
        (out * out.conj()).real.sum().backward()
        results += [out.detach().numpy(), *(t.grad.numpy() for t in leaves)]
    tolerance = 1e-3 if kind == "float32" else 1e-9
    for a, b in zip(got, want, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("keywords", [(1, 1, 1), (1, 0, 1), (1, 2, 2), (1, 3, 1), (2, 1, 1)], ids=str)
def test_the_gradient_of_channels_by_themselves_is_the_adjoint_of_the_definition(keywords: Any) -> None:
    stride, padding, dilation = ((number, number) for number in keywords)
    x, w, direction = normal(2, 3, 9, 8), normal(3, 1, 3, 2), normal(2, 3, 9, 8)
    leaf = cr.from_numpy(x).requires_grad_()
    out = cr.conv2d(leaf, cr.from_numpy(w), None, stride, padding, dilation, 3)
    seed = normal(*out.shape)
    out.backward(cr.from_numpy(seed))
    moved = by_definition(direction, w, stride, padding, dilation, 3)
    np.testing.assert_allclose(np.vdot(leaf.grad.numpy(), direction), np.vdot(seed, moved), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (1, 0), (2, 1)])
@pytest.mark.parametrize("kernels", ["0", "1"])
def test_a_weight_that_is_not_finite_reaches_no_input_that_it_did_not_meet(
    value: float, stride: int, padding: int, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_KERNELS", kernels)
    source = np.random.default_rng(0)
    w = source.normal(size=(8, 4, 3, 3))
    w[0, 0, 0, 0] = value
    x = cr.tensor(source.normal(size=(8, 4, 12, 12)), dtype=cr.float64, requires_grad=True)
    y = F.conv2d(x, cr.tensor(w, dtype=cr.float64), stride=stride, padding=padding)
    g = source.normal(size=tuple(y.shape))
    y.backward(cr.tensor(g, dtype=cr.float64))
    expected = np.zeros((8, 4, 12 + 2 * padding, 12 + 2 * padding))
    for i, j in np.ndindex(*y.shape[2:]):  # what each place of the result met
        met = expected[:, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
        met += np.einsum("no,ochw->nchw", g[:, :, i, j], w)
    inside = slice(padding, padding + 12)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected[:, :, inside, inside], rtol=1e-10, atol=1e-10)
