/* AVX-512: codes for the next layer, and the greatest code of every window. */
#include "avx512.h"

#ifdef AXDSE_X86
#include <math.h>

/* What is wanted is known to the compiler, and fields are read once: stores of bytes might change
 * them, for all it knows. */
INLINE void emit_of(const ProductJob *job, const int32_t *sums, const int rows, const int64_t n,
                    const int64_t column, const int64_t *outputs, const int adds, const int keeps,
                    const int emits)
{
    const float scale = (float)job->codes_scale, reciprocal = 1.0f / scale;
    const __m512 s = _mm512_set1_ps(scale), r = _mm512_set1_ps(reciprocal);
    const __m512 zero = _mm512_setzero_ps(), lowest = _mm512_set1_ps(-INFINITY);
    /* Below nothing, or below zero; a NaN and the sign of a zero stay, as in PyTorch. */
    const __m512 floor = job->codes_are_rectified ? zero : lowest;
    const __m512 added_floor = job->added_is_rectified ? zero : lowest;
    const int always = !(isnormal(scale) && isnormal(reciprocal));
    const float *factors = job->scale + column, *bias = job->bias ? job->bias + column : 0;
    const float *added = job->added;
    float *out = job->out;
    uint8_t *codes = job->codes;
    for (int64_t i = 0; i < n; i += LANES) {
        const __mmask16 used = (__mmask16)(n - i >= LANES ? 0xffff : (1u << (n - i)) - 1);
        const __m512 factor = _mm512_maskz_loadu_ps(used, factors + i);
        const __m512 offset = bias ? _mm512_maskz_loadu_ps(used, bias + i) : zero;
        for (int m = 0; m < rows; m++) {
            const int64_t at = outputs[m] + column + i;
            __m512 y = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + m * MAX_PANELS * LANES + i));
            y = _mm512_mul_ps(y, factor);
            if (bias)
                y = _mm512_add_ps(y, offset);
            if (adds)
                y = _mm512_add_ps(y, _mm512_max_ps(added_floor,
                                                   _mm512_maskz_loadu_ps(used, added + at)));
            if (keeps)
                _mm512_mask_storeu_ps(out + at, used, y);
            if (emits)
                _mm_mask_storeu_epi8(codes + at, used, _mm512_cvtepi32_epi8(quantise16(
                                         _mm512_max_ps(floor, y), s, r, always)));
        }
    }
}

TARGET void emit_avx512(const ProductJob *job, const int32_t *sums, int rows, int64_t n,
                        int64_t column, const int64_t *outputs)
{
    if (job->added && job->out && job->codes)
        emit_of(job, sums, rows, n, column, outputs, 1, 1, 1);
    else if (job->added && job->out)
        emit_of(job, sums, rows, n, column, outputs, 1, 1, 0);
    else if (job->added)
        emit_of(job, sums, rows, n, column, outputs, 1, 0, 1);
    else if (job->out)
        emit_of(job, sums, rows, n, column, outputs, 0, 1, 1);
    else
        emit_of(job, sums, rows, n, column, outputs, 0, 0, 1);
}

TARGET void greater_avx512(const int8_t *other, int64_t n, int8_t *best)
{
    for (int64_t i = 0; i < n; i += 64) {
        __mmask64 used = n - i >= 64 ? ~0ull : (1ull << (n - i)) - 1;
        __m512i most = _mm512_max_epi8(_mm512_maskz_loadu_epi8(used, best + i),
                                       _mm512_maskz_loadu_epi8(used, other + i));
        _mm512_mask_storeu_epi8(best + i, used, most);
    }
}
#endif
