/* What the AVX-512 kernels have in common. */
#ifndef AXDSE_AVX512_H
#define AXDSE_AVX512_H

#include "native.h"

#ifdef AXDSE_X86
#include <immintrin.h>

#define TARGET \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bitalg,avx512vbmi")))
#define INLINE TARGET static inline __attribute__((always_inline))

/* round(x / scale), half to even, clamped to ±127; a NaN becomes 0.
 *
 * x·(1/scale) is within 2^-21.9 of the quotient, relatively, so that it rounds the same way unless
 * it lies within 1e-4 of a half; only then is the division made. */
INLINE __m512i quantise16(__m512 x, __m512 scale, __m512 reciprocal, int always)
{
    const __m512 top = _mm512_set1_ps(127.0f), bottom = _mm512_set1_ps(-127.0f);
    __m512 q = _mm512_mul_ps(x, reciprocal);
    q = _mm512_min_ps(_mm512_max_ps(q, _mm512_set1_ps(-200.0f)), _mm512_set1_ps(200.0f));
    __m512 off = _mm512_abs_ps(_mm512_sub_ps(
        q, _mm512_roundscale_ps(q, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
    if (__builtin_expect(always ||
                             _mm512_cmp_ps_mask(off, _mm512_set1_ps(0.4999f), _CMP_GT_OQ), 0))
        q = _mm512_div_ps(x, scale);
    q = _mm512_min_ps(_mm512_max_ps(q, bottom), top);
    return _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), q);
}

/* Codes of four vectors one after the other: `quantise16` of each with one branch, by fewer
 * instructions. What is clamped before it is rounded needs no care; where a NaN or a value near a
 * half is among them, all is done anew. */
INLINE __m512i quantise64(const __m512 x[4], __m512 scale, __m512 reciprocal, int always)
{
    const __m512 top = _mm512_set1_ps(127.0f), bottom = _mm512_set1_ps(-127.0f);
    const __m512 near_half = _mm512_set1_ps(0.4999f);
    const __m512i in_order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __mmask16 doubtful = 0;
    __m512i q[4];
    for (int v = 0; v < 4; v++) {
        /* A NaN as second operand is what minimum and maximum give. */
        __m512 y = _mm512_mul_ps(x[v], reciprocal);
        y = _mm512_max_ps(bottom, _mm512_min_ps(top, y));
        doubtful |= _mm512_cmp_ps_mask(_mm512_abs_ps(_mm512_reduce_ps(y, 0)), near_half,
                                       _CMP_NLE_UQ);
        q[v] = _mm512_cvtps_epi32(y);
    }
    if (__builtin_expect(doubtful || always, 0))
        for (int v = 0; v < 4; v++)
            q[v] = quantise16(x[v], scale, reciprocal, always);
    __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]),
                                        _mm512_packs_epi32(q[2], q[3]));
    return _mm512_permutexvar_epi32(in_order, packed);
}

void emit_avx512(const ProductJob *, const int32_t *sums, int rows, int64_t n, int64_t column,
                 const int64_t *outputs);
void greater_avx512(const int8_t *other, int64_t n, int8_t *best);
#endif

#endif
