/* AVX-512: codes for the next layer, and the greatest code of every window. */
#include "avx512.h"

#ifdef AXDSE_X86
#include <math.h>

/* What does not change from row to row. */
typedef struct {
    __m512 factor, offset, scale, reciprocal;
    int always;
    const float *added;
    float *out;
    uint8_t *codes;
} Epilogue;

/* Four rows, or one, of up to sixteen columns from the job's column `at` on. */
INLINE void emit_rows(const ProductJob *job, const Epilogue *how, const int32_t *sums,
                      const int64_t *outputs, __mmask16 used, const int rows)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 y[4] = {zero, zero, zero, zero};
    for (int m = 0; m < rows; m++) {
        y[m] = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + m * MAX_PANELS * LANES));
        y[m] = _mm512_mul_ps(y[m], how->factor);
        if (job->bias)
            y[m] = _mm512_add_ps(y[m], how->offset);
        if (how->added) {
            __m512 added = _mm512_maskz_loadu_ps(used, how->added + outputs[m]);
            if (job->added_is_rectified) /* keeps a NaN, and the sign of a zero, as PyTorch does */
                added = _mm512_max_ps(zero, added);
            y[m] = _mm512_add_ps(y[m], added);
        }
        if (how->out)
            _mm512_mask_storeu_ps(how->out + outputs[m], used, y[m]);
        if (job->codes_are_rectified)
            y[m] = _mm512_max_ps(zero, y[m]);
    }
    if (!how->codes)
        return;
    if (rows == 1) {
        __m512i q = quantise16(y[0], how->scale, how->reciprocal, how->always);
        _mm_mask_storeu_epi8(how->codes + outputs[0], used, _mm512_cvtepi32_epi8(q));
        return;
    }
    __m512i codes = quantise64(y, how->scale, how->reciprocal, how->always);
    __m128i of_row[4] = {_mm512_castsi512_si128(codes), _mm512_extracti32x4_epi32(codes, 1),
                         _mm512_extracti32x4_epi32(codes, 2), _mm512_extracti32x4_epi32(codes, 3)};
    for (int m = 0; m < 4; m++)
        if (used == 0xffff)
            _mm_storeu_si128((__m128i *)(how->codes + outputs[m]), of_row[m]);
        else
            _mm_mask_storeu_epi8(how->codes + outputs[m], used, of_row[m]);
}

TARGET void emit_avx512(const ProductJob *job, const int32_t *sums, int rows, int64_t n,
                        int64_t column, const int64_t *outputs)
{
    const float scale = (float)job->codes_scale, reciprocal = 1.0f / scale;
    Epilogue how = {.scale = _mm512_set1_ps(scale), .reciprocal = _mm512_set1_ps(reciprocal),
                    .always = !(isnormal(scale) && isnormal(reciprocal))};
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t at = column + i;
        __mmask16 used = (__mmask16)(n - i >= LANES ? 0xffff : (1u << (n - i)) - 1);
        how.factor = _mm512_maskz_loadu_ps(used, job->scale + at);
        how.offset = job->bias ? _mm512_maskz_loadu_ps(used, job->bias + at) : _mm512_setzero_ps();
        how.added = job->added ? job->added + at : 0;
        how.out = job->out ? (float *)job->out + at : 0;
        how.codes = job->codes ? job->codes + at : 0;
        int m = 0;
        for (; m + 4 <= rows; m += 4)
            emit_rows(job, &how, sums + m * MAX_PANELS * LANES + i, outputs + m, used, 4);
        for (; m < rows; m++)
            emit_rows(job, &how, sums + m * MAX_PANELS * LANES + i, outputs + m, used, 1);
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
