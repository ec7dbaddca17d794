"""Which operators of PyTorch's table are left out, and why: the one place that says so.

`python -m tests.operators` writes docs/reference/operators.md from it; a test holds the two against each other.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """Operators that are left out for one reason."""

    title: str
    reason: str
    names: str

    @property
    def operators(self) -> list[str]:
        return self.names.split()


LEFT_OUT = [
    Family(
        "Random results",
        "Two calls give two results, in PyTorch as well. Distributions, seeds and gradients are tested in "
        "`tests/test_random.py`, `tests/test_distributions.py` and `tests/nn`.",
        "bernoulli cauchy exponential geometric log_normal multinomial normal pca_lowrank rand_like randint "
        "randint_like randn randn_like svd_lowrank uniform nn.functional.alpha_dropout nn.functional.dropout "
        "nn.functional.dropout2d nn.functional.dropout3d nn.functional.feature_alpha_dropout "
        "nn.functional.rrelu nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d "
        "nn.functional.multi_head_attention_forward",
    ),
    Family(
        "Memory that nothing was written to",
        "What these return is whatever the memory held.",
        "empty empty_like empty_permuted empty_strided new_empty new_empty_strided",
    ),
    Family(
        "Views made into copies",
        "Internal forms that PyTorch's compiler uses: the view, and `clone()`, do the same.",
        "alias_copy as_strided_copy as_strided_scatter diagonal_copy expand_copy permute_copy split_with_sizes_copy "
        "squeeze_copy t_copy transpose_copy unbind_copy unfold_copy unsafe_chunk unsafe_split unsqueeze_copy "
        "view_copy _chunk_cat",
    ),
    Family(
        "Internal names",
        "Steps of PyTorch's own implementation, and forms that it offers as methods only. The operators that they are "
        "steps of "
        "(`softmax`, `batch_norm`, `layer_norm`, `max_pool2d`, `interpolate`, ...) are compared.",
        "_batch_norm_with_update _native_batch_norm_legit _segment_reduce _softmax_backward_data "
        "_unsafe_masked_index _unsafe_masked_index_put_accumulate _upsample_bilinear2d_aa "
        "max_pool2d_with_indices_backward native_batch_norm native_dropout_backward native_group_norm "
        "native_layer_norm slice zero_ hash_tensor torch.ops.aten._safe_softmax.default "
        "torch.ops.aten._flash_attention_forward torch.ops.aten._efficient_attention_forward torch._scaled_mm "
        "torch._scaled_mm_v2",
    ),
    Family(
        "Kernels compiled for a GPU",
        "They exist only there.",
        "jiterator_unary jiterator_binary jiterator_binary_return_by_ref jiterator_2inputs_2outputs "
        "jiterator_4inputs_with_extra_args",
    ),
    Family(
        "Sparse tensors",
        "An array of NumPy's is dense.",
        "sparse.mm sparse.sampled_addmm to_sparse",
    ),
    Family(
        "Types that NumPy has not",
        "There is no bfloat16 and no complex of half precision among NumPy's types.",
        "bfloat16 chalf",
    ),
    Family(
        "Window functions by their SciPy names",
        "`scipy.signal.windows` has all of them; `hann_window` and its kin exist.",
        "signal.windows.bartlett signal.windows.blackman signal.windows.cosine signal.windows.exponential "
        "signal.windows.gaussian signal.windows.general_cosine signal.windows.general_hamming "
        "signal.windows.hamming signal.windows.hann signal.windows.kaiser signal.windows.nuttall",
    ),
    Family(
        "LAPACK's raw factors",
        "Packed factorisations without a derivative in PyTorch, or products of their reflections: `linalg.qr`, "
        "`linalg.cholesky` and `linalg.solve` exist.",
        "geqrf linalg.householder_product linalg.ldl_factor linalg.ldl_factor_ex linalg.ldl_solve ormqr",
    ),
    Family(
        "Not written yet",
        "Rarely used, and without a gradient: `histc`, `bincount` and `nonzero` exist.",
        "histogram histogramdd nonzero_static",
    ),
    Family(
        "Not written with every argument",
        "`linear_cross_entropy` takes no `options`, which say into which pieces PyTorch cuts its work.",
        "nn.functional.linear_cross_entropy",
    ),
]

# operators that are compared, except for one thing: PyTorch gives NaN, and chainrule may give a number
NAN_IN_PYTORCH = {
    "linalg.norm": "The second gradient of a norm by singular values (`nuc`, 2, -2) of a matrix of zeros.",
    "masked.logaddexp": "The second gradient where an element is masked, which is 0 in chainrule.",
}

# operators that are compared with a greater tolerance in double precision, relative
LESS_EXACT_IN_PYTORCH = {
    "cov": (1e-4, "PyTorch divides by a sum of weights in single precision."),
    "special.bessel_j0": (1e-4, "PyTorch's approximation has an error of 1e-7; chainrule's is SciPy's."),
    "special.bessel_y1": (1e-4, "PyTorch's approximation has an error of 1e-7; chainrule's is SciPy's."),
}


def left_out(name: str) -> bool:
    """Whether an operator is not compared."""
    return any(name in family.operators for family in LEFT_OUT)
