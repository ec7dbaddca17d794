"""Elementary functions for kernels: exp, log, tanh, erf and others without branches, so that loops over them vectorise.

The compiled kernels call `exp_float32(x)`, `pow_float64(x, y)` and so on; the result has the arguments' type. A call
of the C library in a loop keeps LLVM from using vector instructions; these are arithmetic and selections only. Errors
are below 2 units in the last place, and infinities, NaN, zeros' signs and subnormal numbers are as IEEE 754 wants them:
`python -m benchmarks.elementary` measures both that and the time.

Each function is written once for both precisions: `make_...(kind)` returns it with the constants of one of them. The
polynomials' coefficients are minimax fits that `python -m benchmarks.minimax` computes and prints. Where a constant is
given as a sum of two, the first has so few digits that its product with a small whole number is exact (W. J. Cody and
W. Waite, Software Manual for the Elementary Functions, 1980).

Numba compiles each function when a kernel first calls it. "contract" lets it use fused multiply-adds, which round once
where two operations would round twice. The functions that compute what rounding has taken are compiled without.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

__all__ = ["FUNCTIONS"]

Function = Callable[..., Any]
FUNCTIONS: dict[tuple[str, str], Function] = {}  # by name and type: FUNCTIONS["exp", "float32"]

OPTIONS = {"error_model": "numpy", "forceinline": True, "no_cfunc_wrapper": True}
function: Callable[[Function], Function] = numba.njit(fastmath={"contract"}, **OPTIONS)
# not to be called from Python:
part: Callable[[Function], Function] = numba.njit(fastmath={"contract"}, no_cpython_wrapper=True, **OPTIONS)
exact_part: Callable[[Function], Function] = numba.njit(no_cpython_wrapper=True, **OPTIONS)

LOG_2 = Decimal("0.693147180559945309417232121458176568")
HALF_PI_REST = 6.123233995736766e-17  # pi / 2 - math.pi / 2

# ----- the coefficients, as `python -m benchmarks.minimax` prints them -----

EXP_32 = (  # largest error 2**-28.0
    0.49999994,
    0.166665211,
    0.041668389,
    0.00836871658,
    0.00138145976,
)
EXP_64 = (  # largest error 2**-56.4
    0.50000000000000111,
    0.16666666666666413,
    0.041666666666530149,
    0.0083333333334944769,
    0.0013888888943632452,
    0.00019841269506560091,
    2.4801493096272247e-05,
    2.7557586380677851e-06,
    2.7630249367418364e-07,
    2.5000061629054651e-08,
)
EXPM1_32 = (  # largest error 2**-28.8
    0.5,
    0.166666657,
    0.0416663624,
    0.00833338965,
    0.00139406277,
    0.000198458583,
)
EXPM1_64 = (  # largest error 2**-59.9
    0.5,
    0.16666666666666677,
    0.041666666666666512,
    0.0083333333333216915,
    0.001388888888896237,
    0.0001984126988596674,
    2.4801587172548273e-05,
    2.7557244373176337e-06,
    2.7557402632181441e-07,
    2.5108979281820885e-08,
    2.0875333366294046e-09,
)
LOG_32 = (  # largest error 2**-30.1
    0.666667759,
    0.399775416,
    0.29871729,
)
LOG_64 = (  # largest error 2**-58.9
    0.6666666666666734,
    0.39999999999414682,
    0.28571428742386501,
    0.22222198573337001,
    0.18183564316966852,
    0.15314050806553206,
    0.14795947016138308,
)
POW_64 = (  # largest error 2**-66.3
    0.3999999999999998,
    0.28571428571445101,
    0.22222222217539475,
    0.18181818869945829,
    0.15384556896165194,
    0.13336316449979843,
    0.11674838198220676,
    0.11988848999124514,
)
TANH_32 = (  # largest error 2**-27.7
    -0.333333194,
    0.133326024,
    -0.0538538583,
    0.0210777558,
    -0.00628247112,
)
TANH_64 = (  # largest error 2**-57.6
    -0.33333333333333298,
    0.13333333333326833,
    -0.053968253963878741,
    0.02186948838910634,
    -0.0088632326528307308,
    0.0035920925329040922,
    -0.0014555459860953641,
    0.00058845705631580751,
    -0.00023341274485687776,
    8.3360090529689324e-05,
    -1.9521039743310461e-05,
)
SINH_32 = (  # largest error 2**-27.2
    0.166666672,
    0.00833335053,
    0.000198360663,
    2.81743951e-06,
)
SINH_64 = (  # largest error 2**-56.5
    0.16666666666666666,
    0.0083333333333333332,
    0.00019841269841269589,
    2.7557319224120236e-06,
    2.5052108345642236e-08,
    1.6059050705783331e-10,
    7.6464763661422227e-13,
    2.8483981711947198e-15,
)
ATAN_32 = (  # largest error 2**-26.7
    -0.333333015,
    0.199986383,
    -0.142652467,
    0.109575801,
    -0.0841947049,
    0.0582347512,
    -0.0314559117,
    0.0110645574,
    -0.00182723952,
)
ATAN_64 = (  # largest error 2**-55.1
    -0.33333333333333293,
    0.19999999999991236,
    -0.14285714285086434,
    0.11111111088052987,
    -0.090909085784487614,
    0.07692300112856984,
    -0.066665873460057215,
    0.058817401002798184,
    -0.052595529014128936,
    0.047453809787841611,
    -0.042877425931397463,
    0.038241582075282152,
    -0.032843313486644252,
    0.026235327423309088,
    -0.018708795590761516,
    0.011400322092591368,
    -0.0056670800238888914,
    0.0021780530535201819,
    -0.00060172476458787759,
    0.00010568770318992185,
    -8.8275099452572419e-06,
)
ERF_32 = (  # largest error 2**-26.0
    0.128379166,
    -0.37612626,
    0.112836003,
    -0.0268544443,
    0.00518953521,
    -0.00080208393,
    7.88911348e-05,
)
ERF_64 = (  # largest error 2**-56.2
    0.12837916709551259,
    -0.37612638903183754,
    0.11283791670955121,
    -0.026866170645129868,
    0.005223977625423609,
    -0.00085483270219559749,
    0.00012055332903811123,
    -1.4925647594473676e-05,
    1.6462045980426493e-06,
    -1.6364649554202089e-07,
    1.4792469709482079e-08,
    -1.2164969228736782e-09,
    8.7104681987285656e-11,
    -4.2331350012737869e-12,
)
LOG_ERFC_32 = (  # largest error 2**-26.9
    -1.84960556,
    -2.63896751,
    -0.843106866,
    -0.0415647849,
    0.0100500379,
    -0.00201719231,
    0.000293622579,
    -2.33046849e-05,
    2.51411251e-07,
)
LOG_ERFC_64 = (  # largest error 2**-58.8
    -1.8496055099332482,
    -2.6389675142347908,
    -0.84310725635851491,
    -0.041561098045761059,
    0.010033825424134444,
    -0.0019779029404605277,
    0.00023732429295783065,
    2.6271830490762714e-05,
    -2.7144737643404315e-05,
    9.5838967758005314e-06,
    -2.0274025533013118e-06,
    1.1135719506763481e-07,
    1.2073139425961515e-07,
    -6.4898562063324028e-08,
    2.0244526610709618e-08,
    -4.4877209893426801e-09,
    7.1974116420065273e-10,
    -7.9928192961093172e-11,
    5.5071314339843283e-12,
    -1.771516021769797e-13,
)
SIN_32 = (  # largest error 2**-37.6
    -0.16666666641607117,
    0.0083333293835960495,
    -0.00019839334087690366,
    2.7183042758280203e-06,
)
COS_32 = (  # largest error 2**-33.3
    0.041666646854564532,
    -0.0013887366908405621,
    2.4438379345365171e-05,
)
SIN_64 = (  # largest error 2**-57.2
    -0.16666666666666632,
    0.0083333333333224131,
    -0.00019841269829807962,
    2.7557313691955989e-06,
    -2.5050758119562766e-08,
    1.589679583977372e-10,
)
COS_64 = (  # largest error 2**-59.9
    0.041666666666666602,
    -0.0013888888888874125,
    2.4801587289482279e-05,
    -2.7557314352354947e-07,
    2.0875723275799333e-09,
    -1.1359647923399437e-11,
)


# ----- what Numba's Python lacks -----

CONTRACT = ("contract",)


def intrinsics(real: Any, integer: Any) -> tuple[Function, Function]:
    """bits_of(x) and from_bits(i): a number as an integer of the same bits, and back.

    (Numba knows `x.view(np.int32)`, but takes long to compile it.)
    """
    real_type, integer_type = numba.from_dtype(np.dtype(real)), numba.from_dtype(np.dtype(integer))

    @intrinsic  # type: ignore[untyped-decorator]
    def bits_of(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(integer_type))

        return integer_type(real_type), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def from_bits(typing: Any, i: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            bits = context.cast(builder, args[0], i, integer_type)  # Numba's sums of integers have 64 bits
            return builder.bitcast(bits, context.get_value_type(real_type))

        return real_type(i), generate

    return bits_of, from_bits


def polynomial(coefficients: list[Any]) -> Function:
    """The polynomial with these coefficients, lowest power first, by Horner's rule."""

    @intrinsic  # type: ignore[untyped-decorator]
    def evaluate(typing: Any, t: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            *rest, total = (ir.Constant(args[0].type, float(c)) for c in coefficients)
            for constant in reversed(rest):
                total = builder.fadd(constant, builder.fmul(args[0], total, CONTRACT), flags=CONTRACT)
            return total

        return t(t), generate

    return evaluate  # type: ignore[no-any-return]


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return x(x, x, x), generate


@exact_part
def two_sum(x: Any, y: Any) -> Any:
    """The rounded sum, and what rounding took from it (D. E. Knuth, Seminumerical Algorithms, section 4.2.2)."""
    total = x + y
    rounded = total - x
    return total, (x - (total - rounded)) + (y - rounded)


class Kind:
    """What is different between the two precisions.

    Attributes:
        real: the number type.
        digits: explicit bits of the significand.
        bias: of the exponent.
        bits_of, from_bits: a number as an integer of the same bits, and back.
        sign_bit: of that integer.
    """

    def __init__(self, real: Any, integer: Any) -> None:
        information = np.finfo(real)
        self.real = real
        self.digits = information.nmant
        self.bias = 1 - information.minexp
        self.suffix = f"_{information.bits}"
        # added to a number below 2**(digits - 1) it leaves no place for a fraction: the number is rounded, and its
        # integer stands in the last bits of the sum
        self.rounder = real(1.5 * 2.0**self.digits)
        self.rounder_bits = int(self.rounder.view(integer))
        self.root_bits = int(real(0.5**0.5).view(integer))
        self.sign_bit = int(np.iinfo(integer).min)
        self.bits_of, self.from_bits = intrinsics(real, integer)

    def split(self, value: Decimal) -> tuple[Any, Any]:
        """The value as a sum of two numbers; the first times an integer exponent is exact."""
        spare = 9 if self.real is np.float32 else 12
        unit = Decimal(2) ** (spare - self.digits)
        first = (value / unit).to_integral_value() * unit
        return self.real(float(first)), self.real(float(value - first))

    def polynomial(self, name: str) -> Function:
        """The polynomial with these of the coefficients above."""
        return polynomial([self.real(c) for c in globals()[name + self.suffix]])

    def sign(self) -> Function:
        """with_sign_of(x, size): a number that is not negative, with the sign of another, be that of a zero."""
        bits_of, from_bits, sign_bit = self.bits_of, self.from_bits, self.sign_bit

        @part
        def with_sign_of(x: Any, size: Any) -> Any:
            return from_bits(bits_of(size) | (bits_of(x) & sign_bit))

        return with_sign_of


FLOAT32 = Kind(np.float32, np.int32)
FLOAT64 = Kind(np.float64, np.int64)


# ----- powers -----


def make_exponentials(kind: Kind) -> tuple[dict[str, Function], Function, Function]:
    """exp, exp2, expm1, sinh and cosh; exp where the result is neither subnormal nor infinite; exp2 of a sum.

    With n the integer nearest to x / log 2 and r = x - n log 2, e**x = 2**n (1 + r + r**2 p(r)).
    """
    real, digits, bias, bits_of, from_bits = kind.real, kind.digits, kind.bias, kind.bits_of, kind.from_bits
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    per_log_2 = real(float(1 / LOG_2))
    log_2 = real(float(LOG_2))
    log_2_high, log_2_low = kind.split(LOG_2)
    rounder, rounder_bits = kind.rounder, kind.rounder_bits
    highest = real(float(LOG_2) * (bias + 2))  # beyond, the result is infinite
    lowest = -real(float(LOG_2) * (bias + digits + 2))  # beyond, it is 0
    highest_half, quarter = real(float(LOG_2) * (bias + 3)), real(0.25)
    highest_less_1 = real(float(LOG_2) * (bias + 1.4))
    highest_2, lowest_2 = real(bias + 2), -real(bias + digits + 2)
    least = -real(float(LOG_2) * (digits + 3))  # beyond, expm1 is -1
    tiny = real(2.0 ** -(digits + 2))
    tail, tail_less_1, sinh_tail = (kind.polynomial(name) for name in ("EXP", "EXPM1", "SINH"))
    with_sign_of = kind.sign()

    @part
    def power_of_2(n: Any) -> Any:
        return from_bits((n + bias) << digits)

    @part
    def scaled(significand: Any, n: Any) -> Any:
        # in two steps: 2**n itself may be no number of this type
        first = n >> 1
        return significand * power_of_2(first) * power_of_2(n - first)

    @part
    def parts(x: Any) -> Any:
        # the significand and n
        shifted = x * per_log_2 + rounder
        n = shifted - rounder
        r = x - n * log_2_high - n * log_2_low
        return one + (r + r * r * tail(r)), bits_of(shifted) - rounder_bits

    @part
    def moderate_exp(x: Any) -> Any:
        significand, n = parts(x)
        return significand * power_of_2(n)

    @function
    def exp(x: Any) -> Any:
        x = highest if x > highest else x
        significand, n = parts(lowest if x < lowest else x)
        return scaled(significand, n)

    @part
    def exp2_of_sum(x: Any, rest: Any) -> Any:
        x = highest_2 if x > highest_2 else x
        x = lowest_2 if x < lowest_2 else x
        shifted = x + rounder
        r = ((x - (shifted - rounder)) + rest) * log_2
        return scaled(one + (r + r * r * tail(r)), bits_of(shifted) - rounder_bits)

    @function
    def exp2(x: Any) -> Any:
        return exp2_of_sum(x, zero)

    @function
    def expm1(x: Any) -> Any:
        y = highest_less_1 if x > highest_less_1 else x
        y = least if y < least else y
        shifted = y * per_log_2 + rounder
        n = shifted - rounder
        rest = y - n * log_2_high
        r = rest - n * log_2_low
        lost = (rest - r) - n * log_2_low
        # 2 (2**(n-1) - 1/2 + 2**(n-1) (e**r - 1)): 2**n may be infinite where the result is not
        scale = power_of_2((bits_of(shifted) - rounder_bits) - 1)
        result = two * (((scale - half) + scale * r) + scale * (r * r * tail_less_1(r) + lost))
        return x if abs(x) < tiny else result

    @part
    def half_exp(y: Any) -> Any:
        # e**y / 2 for y >= 0, which is finite a little longer than e**y
        significand, n = parts(highest_half if y > highest_half else y)
        return scaled(significand, n - 1)

    @function
    def cosh(x: Any) -> Any:
        large = half_exp(abs(x))
        return large + quarter / large

    @function
    def sinh(x: Any) -> Any:
        y = abs(x)
        z = y * y
        near = y + y * (z * sinh_tail(z))
        large = half_exp(y)
        return with_sign_of(x, near if y < one else large - quarter / large)

    made = {"exp": exp, "exp2": exp2, "expm1": expm1, "sinh": sinh, "cosh": cosh}
    return made, moderate_exp, exp2_of_sum


# ----- logarithms -----


def make_logarithms(kind: Kind) -> dict[str, Function]:
    """log, log2, log10 and log1p.

    x = 2**k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), and log(1 + f) = 2 artanh(s) with s = f / (2 + f).
    """
    real, digits, bias, bits_of, from_bits = kind.real, kind.digits, kind.bias, kind.bits_of, kind.from_bits
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    infinity, nan = real(np.inf), real(np.nan)
    root_bits = kind.root_bits
    smallest_normal, lift = np.finfo(real).tiny, real(2.0**digits)
    tiny = real(2.0 ** -(digits + 3))
    furthest = 2 * digits
    rounder, rounder_bits = kind.rounder, kind.rounder_bits
    log_2_high, log_2_low = kind.split(LOG_2)
    tail = kind.polynomial("LOG")

    @part
    def correction(f: Any) -> Any:
        # log(1 + f) - f
        s = f / (two + f)
        z = s * s
        square = half * f * f
        return s * (square + z * tail(z)) - square

    @part
    def exponent(x: Any) -> Any:
        return (bits_of(x) - root_bits) >> digits

    @part
    def as_real(k: Any) -> Any:
        # the integer k, below 2**digits; a conversion is slow on processors without AVX-512
        return from_bits(k + rounder_bits) - rounder

    @part
    def at_edges(x: Any, result: Any) -> Any:
        # where the argument of the logarithm is negative, zero, infinite or NaN
        result = result if x < infinity else x
        result = -infinity if x == zero else result
        return nan if x < zero else result

    @function
    def log(x: Any) -> Any:
        subnormal = x < smallest_normal
        y = x * lift if subnormal else x
        k = exponent(y)
        f = from_bits(bits_of(y) - (k << digits)) - one
        n = as_real(k - digits if subnormal else k)
        return at_edges(x, n * log_2_high + (f + (n * log_2_low + correction(f))))

    def make_scaled(per_log_2: Decimal, per_e: Decimal) -> Function:
        # log(x) / log(base) = k / log_2(base) + log(1 + f) / log(base)
        unit_high, unit_low = kind.split(per_log_2)
        factor = real(float(per_e))
        factor_low = real(float(per_e - Decimal(float(factor))))

        @function
        def scaled_log(x: Any) -> Any:
            subnormal = x < smallest_normal
            y = x * lift if subnormal else x
            k = exponent(y)
            f = from_bits(bits_of(y) - (k << digits)) - one
            n = as_real(k - digits if subnormal else k)
            rest = n * unit_low + (f * factor_low + correction(f) * factor)
            return at_edges(x, n * unit_high + (f * factor + rest))

        return scaled_log

    @function
    def log1p(x: Any) -> Any:
        u = one + x
        k = exponent(u)
        # f = x 2**-k + (2**-k - 1); beyond `furthest` the latter is -1
        unit = from_bits((bias - (k if k < furthest else furthest)) << digits)
        f = from_bits(bits_of(x) - (k << digits)) + (unit - one)
        n = as_real(k)
        result = at_edges(u, n * log_2_high + (f + (n * log_2_low + correction(f))))
        return x if abs(x) < tiny else result

    log_10 = Decimal("2.302585092994045684017991454684364208")
    return {
        "log": log,
        "log1p": log1p,
        "log2": make_scaled(Decimal(1), 1 / LOG_2),
        "log10": make_scaled(LOG_2 / log_10, 1 / log_10),
    }


# ----- functions made of exp -----


def make_sigmoids(kind: Kind, exp: Function, moderate_exp: Function) -> dict[str, Function]:
    """tanh, sigmoid and erf."""
    real, with_sign_of = kind.real, kind.sign()
    zero, half, one, two, almost_3_halves = real(0), real(0.5), real(1), real(2), real(1.457)
    tanh_middle, tanh_end = real(0.55), real(0.35 * kind.digits + 2)  # 1 beyond the end, to the last digit
    erf_end = real(4 if real is np.float32 else 6)
    tanh_tail, erf_tail, log_erfc = (kind.polynomial(name) for name in ("TANH", "ERF", "LOG_ERFC"))

    @function
    def tanh(x: Any) -> Any:
        # x + x**3 p(x**2), and 1 - 2 / (e**2x + 1)
        y = abs(x)
        z = y * y
        near = y + y * (z * tanh_tail(z))
        end = tanh_end if y > tanh_end else y
        far = one - two / (moderate_exp(end + end) + one)
        return with_sign_of(x, near if y < tanh_middle else far)

    @function
    def sigmoid(x: Any) -> Any:
        # 1 / (1 + e**-x), and e**x / (1 + e**x) for negative x, so that nothing overflows
        power = exp(-abs(x))
        below = one + power
        lost = power - (below - one)  # what rounding takes from the sum
        result = (power if x < zero else one) / below
        return result - result * (lost * (almost_3_halves - half * below))  # a line near 1 / below

    @function
    def erf(x: Any) -> Any:
        # x + x p(x**2), and 1 - e**(log(erfc(x)))
        y = abs(x)
        near = y + y * erf_tail(y * y)
        end = erf_end if y > erf_end else y
        far = one - moderate_exp(log_erfc(end - one))
        return with_sign_of(x, near if y < one else far)

    return {"tanh": tanh, "sigmoid": sigmoid, "erf": erf}


# ----- circular functions -----


def two_over_pi(digits: int) -> int:
    """2 / pi times 2**digits; pi by Machin's formula, 16 arctan(1/5) - 4 arctan(1/239)."""
    one = 1 << (digits + 64)

    def arctan_of_inverse(n: int) -> int:
        total, power, i = 0, one // n, 1
        while power:
            total += power // i if i % 4 == 1 else -(power // i)
            power //= n * n
            i += 2
        return total

    return (2 * one << digits) // (16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239))


def reduction_table(kind: Kind, sizes: tuple[int, ...]) -> Any:
    """For x with each exponent 2**e, 2**e 2 / pi without the bits whose product with x 2**-e is a multiple of 4.

    What is left is the sum of a few float64 of `sizes` bits. So the product of 2 / pi and x, a multiple of a large
    power of 2, needs no more digits modulo 4 than that of a small x (M. H. Payne and R. N. Hanek, Radian reduction for
    trigonometric functions, 1983).

    Returns:
        An array (exponents, len(sizes)).
    """
    digits = kind.bias + 256
    whole = two_over_pi(digits)
    rows = []
    for exponent in range(2 * kind.bias + 2):
        unit = max(exponent, 1) - kind.bias - kind.digits  # x is a multiple of 2**unit
        start = min(2 - unit, 0)
        rest = whole % (1 << (digits + start))
        end = digits + start
        row = []
        for size in sizes:
            end -= size
            piece = (rest + (1 << (end - 1))) >> end
            row.append(math.ldexp(piece, end - digits + exponent - kind.bias))
            rest -= piece << end
        rows.append(row)
    rows[-1] = [math.nan] * len(sizes)  # for infinities and NaN
    return np.array(rows)


def make_quarters(kind: Kind) -> Function:
    """The function that gives the integer n nearest to x / (pi/2), and x - n pi/2 as a sum of two float64."""
    bits_of, from_bits, digits, mask = kind.bits_of, kind.from_bits, kind.digits, 2 * kind.bias + 1
    exponent_bits, bits_of_1 = mask << digits, kind.bias << digits
    rounder, rounder_bits, long_bits_of = FLOAT64.rounder, FLOAT64.rounder_bits, FLOAT64.bits_of
    quarter_high, quarter_low = math.pi / 2, HALF_PI_REST  # of a turn

    if kind.real is np.float32:
        # x has 24 digits, and so the product with 29 is exact
        table = reduction_table(kind, (29, 53))
        high_table, low_table = np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])

        @part
        def quarters_32(x: Any) -> Any:
            bits = bits_of(x)
            row = (bits >> digits) & mask
            wide = np.float64(from_bits((bits & ~exponent_bits) | bits_of_1))
            high, low = wide * high_table[row], wide * low_table[row]
            shifted = (high + low) + rounder
            n = shifted - rounder
            return long_bits_of(shifted) - rounder_bits, ((high - n) + low) * quarter_high, 0.0

        return quarters_32

    first, second, third, fourth = (np.ascontiguousarray(column) for column in reduction_table(kind, (53,) * 4).T)

    @exact_part
    def quarters_64(x: Any) -> Any:
        # a float64 can be as near as 2**-61 to a multiple of pi/2, so that 170 bits of the product are needed
        bits = bits_of(x)
        row = (bits >> digits) & mask
        x = from_bits((bits & ~exponent_bits) | bits_of_1)
        a = x * first[row]
        a_rest = fma(x, first[row], -a)
        a -= 4.0 * np.floor(0.25 * a + 0.5)
        b = x * second[row]
        b_rest = fma(x, second[row], -b)
        c = x * third[row]
        c_rest = fma(x, third[row], -c)
        shifted = ((a + a_rest) + b) + rounder
        n = shifted - rounder
        high, high_rest = two_sum((a - n) + a_rest, b)
        low, low_rest = two_sum(b_rest, c)
        high, middle = two_sum(high, low)
        low = middle + (high_rest + (low_rest + (c_rest + x * fourth[row])))
        r = high * quarter_high
        r_rest = fma(high, quarter_high, -r) + (high * quarter_low + low * quarter_high)
        return long_bits_of(shifted) - rounder_bits, r, r_rest

    return quarters_64


def make_circular(kind: Kind) -> dict[str, Function]:
    """sin, cos and atan.

    sin and cos are those of r = x - n pi/2, between -pi/4 and pi/4, with n modulo 4 choosing which, and the sign. Both
    precisions compute them in float64.
    """
    real, with_sign_of = kind.real, kind.sign()
    tiny = real(2.0 ** -(kind.digits // 2 + 2))
    sin_tail = polynomial([np.float64(c) for c in globals()["SIN" + kind.suffix]])
    cos_tail = polynomial([np.float64(c) for c in globals()["COS" + kind.suffix]])
    quarters = make_quarters(kind)

    @part
    def sin_of_quarter(n: Any, r: Any, r_rest: Any) -> Any:
        z = r * r
        odd = 1.0 - (0.5 * z - (z * z * cos_tail(z) - r * r_rest))
        even = r + (r * (z * sin_tail(z)) + r_rest)
        result = odd if n & 1 else even
        return real(-result if n & 2 else result)

    @function
    def sin(x: Any) -> Any:
        n, r, r_rest = quarters(x)
        result = sin_of_quarter(n, r, r_rest)
        return x if abs(x) < tiny else result

    @function
    def cos(x: Any) -> Any:
        n, r, r_rest = quarters(x)
        return sin_of_quarter(n + 1, r, r_rest)

    half_pi = real(math.pi / 2)
    half_pi_rest = real(math.pi / 2 - float(half_pi)) if real is np.float32 else real(HALF_PI_REST)
    one = real(1)
    atan_tail = kind.polynomial("ATAN")

    @function
    def atan(x: Any) -> Any:
        # t + t**3 p(t**2), and pi/2 - atan(1 / x) beyond 1
        y = abs(x)
        beyond = y > one
        t = one / y if beyond else y
        z = t * t
        small = t + t * (z * atan_tail(z))
        return with_sign_of(x, half_pi - (small - half_pi_rest) if beyond else small)

    return {"sin": sin, "cos": cos, "atan": atan}


# ----- x**y -----


def make_precise_log2() -> Function:
    """The function that gives the logarithm of a positive float64 to base 2 as a sum of two, right to 2**-64.

    As `log` does, but what counts is kept in pairs of numbers: s, s**2, and the first two terms 2 s + 2/3 s**3.
    """
    kind = FLOAT64
    digits, root_bits, bits_of, from_bits = kind.digits, kind.root_bits, kind.bits_of, kind.from_bits
    rounder, rounder_bits = kind.rounder, kind.rounder_bits
    smallest_normal, lift = float(np.finfo(np.float64).tiny), 2.0**digits
    tail = kind.polynomial("POW")
    third_high = 2 / 3
    third_low = float(Decimal(2) / 3 - Decimal(third_high))
    per_log_2_high = float(1 / LOG_2)
    per_log_2_low = float(1 / LOG_2 - Decimal(per_log_2_high))

    @exact_part
    def precise_log2(x: Any) -> Any:
        subnormal = x < smallest_normal
        y = x * lift if subnormal else x
        k = (bits_of(y) - root_bits) >> digits
        f = from_bits(bits_of(y) - (k << digits)) - 1.0
        n = from_bits((k - digits if subnormal else k) + rounder_bits) - rounder
        # s = f / (2 + f), whose denominator's inverse is (1 - s) / 2
        below = 2.0 + f
        s = f / below
        s_rest = (fma(-s, below, f) - s * (f - (below - 2.0))) * (0.5 - 0.5 * s)
        z = s * s
        z_rest = fma(s, s, -z) + 2.0 * s * s_rest
        # log(1 + f) = s (2 + w)
        third = z * third_high
        third_rest = fma(z, third_high, -third) + (z * third_low + z_rest * third_high)
        fifth = z * z * tail(z)
        w = third + fifth
        w_rest = (fifth - (w - third)) + third_rest
        product = s * w
        product_rest = fma(s, w, -product) + (s * w_rest + s_rest * w)
        high = 2.0 * s + product
        low = (product - (high - 2.0 * s)) + (2.0 * s_rest + product_rest)
        scaled = high * per_log_2_high
        scaled_rest = fma(high, per_log_2_high, -scaled) + (high * per_log_2_low + low * per_log_2_high)
        total = n + scaled
        return total, (scaled - (total - n)) + scaled_rest

    return precise_log2


def make_pow(kind: Kind, log2: Function, exp2_of_sum: Function) -> Function:
    """x**y, with the special cases of C's pow. Both precisions compute in float64, whose functions are given."""
    real, infinity, nan = kind.real, math.inf, math.nan
    furthest = 1100.0
    with_sign_of = FLOAT64.sign()
    precise_log2 = make_precise_log2()

    @part
    def size_32(x: Any, y: Any) -> Any:
        return exp2_of_sum(y * log2(x), 0.0)

    @exact_part
    def size_64(x: Any, y: Any) -> Any:
        high, low = precise_log2(x)
        high = -infinity if x == 0.0 else (high if x < infinity else x)
        exponent = y * high
        rest = fma(y, high, -exponent) + y * low
        return exp2_of_sum(exponent, rest if abs(exponent) < furthest else 0.0)

    size = size_32 if real is np.float32 else size_64

    @function
    def pow(x: Any, y: Any) -> Any:
        base, exponent = np.float64(x), np.float64(y)
        positive = abs(base)
        result = size(positive, exponent)
        whole = np.floor(exponent) == exponent
        odd = whole & (np.floor(0.5 * exponent) != 0.5 * exponent)
        result = with_sign_of(base, result) if odd else result
        result = nan if (base < 0.0) & (positive < infinity) & (not whole) else result
        unit = (exponent == 0.0) | (base == 1.0) | ((positive == 1.0) & (abs(exponent) == infinity))
        return real(1.0 if unit else result)

    return pow


# ----- the functions by name -----


def make_all() -> None:
    """Put the functions into FUNCTIONS and this module."""
    exponentials = {kind: make_exponentials(kind) for kind in (FLOAT32, FLOAT64)}
    for kind, (made, moderate_exp, _) in exponentials.items():
        made |= make_logarithms(kind) | make_sigmoids(kind, made["exp"], moderate_exp) | make_circular(kind)
        for name, made_function in made.items():
            FUNCTIONS[name, kind.real.__name__] = made_function
    for kind in exponentials:
        exp2_of_sum = exponentials[FLOAT64][2]
        FUNCTIONS["pow", kind.real.__name__] = make_pow(kind, FUNCTIONS["log2", "float64"], exp2_of_sum)
    for (name, real), made_function in FUNCTIONS.items():
        globals()[f"{name}_{real}"] = made_function
        __all__.append(f"{name}_{real}")


make_all()
