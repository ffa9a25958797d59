/* AVX-512: codes for the next layer, and the greatest code of every window. */
#include "avx512.h"

#ifdef AXDSE_X86
#include <math.h>

/* What does not change from row to row; read once, as stores of bytes might change the job's fields,
 * for all the compiler knows. */
typedef struct {
    __m512 factor, offset, scale, reciprocal;
    __m512 floor, added_floor; /* no least value, or zero; a NaN and the sign of a zero stay */
    int always;
    const float *added;
    float *out;
    uint8_t *codes;
} Epilogue;

/* Four rows, or one, of up to sixteen columns. What is wanted is known to the compiler. */
INLINE void emit_rows(const Epilogue *how, const int32_t *sums, const int64_t *outputs,
                      const __mmask16 used, const int rows, const int has_bias, const int adds,
                      const int keeps, const int emits)
{
    __m512 y[4] = {_mm512_setzero_ps()};
    for (int m = 0; m < rows; m++) {
        y[m] = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + m * MAX_PANELS * LANES));
        y[m] = _mm512_mul_ps(y[m], how->factor);
        if (has_bias)
            y[m] = _mm512_add_ps(y[m], how->offset);
        if (adds)
            y[m] = _mm512_add_ps(y[m], _mm512_max_ps(how->added_floor, _mm512_maskz_loadu_ps(
                                                         used, how->added + outputs[m])));
        if (keeps)
            _mm512_mask_storeu_ps(how->out + outputs[m], used, y[m]);
        y[m] = _mm512_max_ps(how->floor, y[m]);
    }
    if (!emits)
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

INLINE void emit_of(const ProductJob *job, const int32_t *sums, const int rows, const int64_t n,
                    const int64_t column, const int64_t *outputs, const int adds, const int keeps,
                    const int emits)
{
    const float scale = (float)job->codes_scale, reciprocal = 1.0f / scale;
    const __m512 zero = _mm512_setzero_ps(), lowest = _mm512_set1_ps(-INFINITY);
    const int has_bias = job->bias != 0;
    Epilogue how = {.scale = _mm512_set1_ps(scale), .reciprocal = _mm512_set1_ps(reciprocal),
                    .floor = job->codes_are_rectified ? zero : lowest,
                    .added_floor = job->added_is_rectified ? zero : lowest,
                    .always = !(isnormal(scale) && isnormal(reciprocal))};
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t at = column + i;
        const __mmask16 used = (__mmask16)(n - i >= LANES ? 0xffff : (1u << (n - i)) - 1);
        how.factor = _mm512_maskz_loadu_ps(used, job->scale + at);
        how.offset = has_bias ? _mm512_maskz_loadu_ps(used, job->bias + at) : zero;
        how.added = adds ? job->added + at : 0;
        how.out = keeps ? (float *)job->out + at : 0;
        how.codes = emits ? job->codes + at : 0;
        int m = 0;
        for (; m + 4 <= rows; m += 4)
            emit_rows(&how, sums + m * MAX_PANELS * LANES + i, outputs + m, used, 4, has_bias, adds,
                      keeps, emits);
        for (; m < rows; m++)
            emit_rows(&how, sums + m * MAX_PANELS * LANES + i, outputs + m, used, 1, has_bias, adds,
                      keeps, emits);
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
