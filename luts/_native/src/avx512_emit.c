/* AVX-512: codes for the next layer, and the greatest code of every window. */
#include "avx512.h"

#ifdef AXDSE_X86
#include <math.h>

TARGET void emit_avx512(const ProductJob *job, const int32_t *sums, int rows, int64_t n,
                        int64_t column, const int64_t *outputs)
{
    const float scale = (float)job->codes_scale, reciprocal = 1.0f / scale;
    const __m512 s = _mm512_set1_ps(scale), r = _mm512_set1_ps(reciprocal);
    const __m512 zero = _mm512_setzero_ps();
    int always = !(isnormal(scale) && isnormal(reciprocal));
    for (int64_t i = 0; i < n; i += LANES) {
        __mmask16 used = (__mmask16)(n - i >= LANES ? 0xffff : (1u << (n - i)) - 1);
        const __m512 factor = _mm512_maskz_loadu_ps(used, job->scale + column + i);
        const __m512 offset = job->bias ? _mm512_maskz_loadu_ps(used, job->bias + column + i) : zero;
        for (int m = 0; m < rows; m++) {
            int64_t at = outputs[m] + column + i;
            __m512 y = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + m * MAX_PANELS * LANES + i));
            y = _mm512_mul_ps(y, factor);
            if (job->bias)
                y = _mm512_add_ps(y, offset);
            if (job->added) {
                __m512 added = _mm512_maskz_loadu_ps(used, job->added + at);
                if (job->added_is_rectified) /* keeps a NaN, and the sign of a zero, as PyTorch does */
                    added = _mm512_max_ps(zero, added);
                y = _mm512_add_ps(y, added);
            }
            if (job->out)
                _mm512_mask_storeu_ps((float *)job->out + at, used, y);
            if (!job->codes)
                continue;
            if (job->codes_are_rectified)
                y = _mm512_max_ps(zero, y);
            __m128i codes = _mm512_cvtepi32_epi8(quantise16(y, s, r, always));
            if (used == 0xffff)
                _mm_storeu_si128((__m128i *)(job->codes + at), codes);
            else
                _mm_mask_storeu_epi8(job->codes + at, used, codes);
        }
    }
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
