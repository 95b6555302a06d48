"""Philox4x64-10: the words behind the random numbers, once in plain array code and once as a CUDA body.

Ten rounds of multiplication and exclusive-or scramble a counter under a key (Salmon, Moraes, Dror and Shaw 2011).
On the CPU `random.py` takes the same words from NumPy's C code; `philox` is what both must equal.
"""

from __future__ import annotations

from .kernels import ElementwiseKernel

_LIMIT = 2**64

_PREAMBLE = """
__device__ unsigned long long philox_high(unsigned long long a, unsigned long long b) {
#ifdef __CUDA_ARCH__
    return __umul64hi(a, b);
#else
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
#endif
}
"""
_BODY = """
unsigned long long x0 = counter, x1 = 0, x2 = 0, x3 = 0, k0 = seed, k1 = stream;
for (int turn = 0; turn < 10; turn++) {
    unsigned long long high0 = philox_high(0xD2E7470EE14C6C93ULL, x0), low0 = 0xD2E7470EE14C6C93ULL * x0;
    unsigned long long high1 = philox_high(0xCA5A826395121157ULL, x2), low1 = 0xCA5A826395121157ULL * x2;
    x0 = high1 ^ x1 ^ k0;  x1 = low1;  x2 = high0 ^ x3 ^ k1;  x3 = low0;
    k0 += 0x9E3779B97F4A7C15ULL;  k1 += 0xBB67AE8584CAA73BULL;
}
w0 = x0;  w1 = x1;  w2 = x2;  w3 = x3
"""


def _high_product(a, b: int):
    """Return the upper 64 bits of the 128-bit product a * b, from four products of 32-bit halves."""
    low, high = a & 0xFFFFFFFF, a >> 32
    b_low, b_high = b & 0xFFFFFFFF, b >> 32
    cross, other = high * b_low, low * b_high
    carry = ((low * b_low) >> 32) + (cross & 0xFFFFFFFF) + (other & 0xFFFFFFFF)
    return high * b_high + (cross >> 32) + (other >> 32) + (carry >> 32)


def philox(xp, counter, seed, stream):
    """Compute four words for each counter, plainly: what the CUDA body means, and what NumPy's C code does.

    Parameters
    ----------
    counter : uint64 array, (n,)
    seed, stream : int
        The key.

    Returns
    -------
    tuple of four uint64 arrays, (n,)
    """
    zero = xp.zeros_like(counter)
    x0, x1, x2, x3, k0, k1 = counter, zero, zero, zero, int(seed), int(stream)
    for _ in range(10):
        high0, low0 = _high_product(x0, 0xD2E7470EE14C6C93), x0 * 0xD2E7470EE14C6C93
        high1, low1 = _high_product(x2, 0xCA5A826395121157), x2 * 0xCA5A826395121157
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % _LIMIT, (k1 + 0xBB67AE8584CAA73B) % _LIMIT
    return x0, x1, x2, x3


PHILOX = ElementwiseKernel(
    "philox4x64",
    "uint64 counter, uint64 seed, uint64 stream",
    "uint64 w0, uint64 w1, uint64 w2, uint64 w3",
    _BODY,
    _PREAMBLE,
    philox,
)
