/* AVX2: 16-bit products (exact, unlike 8-bit ones, which saturate) and gathered look-ups. */
#include "native.h"

#ifdef AXDSE_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE TARGET static inline __attribute__((always_inline))

TARGET static void quantise(const float *x, int64_t n, float scale, uint8_t *codes)
{
    const __m256 s = _mm256_set1_ps(scale);
    const __m256 top = _mm256_set1_ps(127.0f), bottom = _mm256_set1_ps(-127.0f);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_loadu_ps(x + i);
        __m256 q = _mm256_min_ps(_mm256_max_ps(_mm256_div_ps(v, s), bottom), top);
        q = _mm256_and_ps(q, _mm256_cmp_ps(v, v, _CMP_ORD_Q)); /* a NaN becomes 0 */
        __m256i codes32 = _mm256_cvtps_epi32(q);
        __m128i codes16 = _mm_packs_epi32(_mm256_castsi256_si128(codes32),
                                          _mm256_extracti128_si256(codes32, 1));
        _mm_storel_epi64((__m128i *)(codes + i), _mm_packs_epi16(codes16, codes16));
    }
    if (i < n)
        kernels_portable.quantise(x + i, n - i, scale, codes + i);
}

/* Four columns per register, two 32-bit partial sums per column. */
INLINE void tile_of(const Tile *tile, const int first, const int rows, const int panel)
{
    __m256i sums[2][4];
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < 4; n++)
            sums[m][n] = _mm256_setzero_si256();
    const int8_t *w = tile->w + panel * tile->panel_bytes;
    for (int64_t s = 0; s < tile->n_segments; s++)
        for (int64_t i = 0; i < tile->dwords; i++, w += 4 * LANES) {
            __m256i second[4];
            for (int n = 0; n < 4; n++)
                second[n] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 16 * n)));
            for (int m = 0; m < rows; m++) {
                int32_t four;
                __builtin_memcpy(&four, tile->x + tile->rows[first + m] + tile->segments[s] + 4 * i,
                                 4);
                __m256i x = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
                for (int n = 0; n < 4; n++)
                    sums[m][n] = _mm256_add_epi32(sums[m][n], _mm256_madd_epi16(x, second[n]));
            }
        }
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < 4; n += 2) {
            int32_t *out = tile->sums + ((first + m) * MAX_PANELS + panel) * LANES + 4 * n;
            __m256i both = _mm256_hadd_epi32(sums[m][n], sums[m][n + 1]);
            both = _mm256_permute4x64_epi64(both, 0xd8);
            __m256i init = _mm256_loadu_si256(
                (const __m256i *)(tile->init + panel * LANES + 4 * n));
            _mm256_storeu_si256((__m256i *)out, _mm256_add_epi32(both, init));
        }
}

TARGET static void tile(const Tile *tile, int rows, int panels)
{
    for (int n = 0; n < panels; n++) {
        int m = 0;
        for (; m + 2 <= rows; m += 2)
            tile_of(tile, m, 2, n);
        if (m < rows)
            tile_of(tile, m, 1, n);
    }
}

TARGET static void lookup(const Lookup *job, const Columns *columns, const uint8_t *row_codes,
                          int32_t *sums)
{
    for (int64_t c = 0; c < columns->n; c += 32) {
        __m256i total[4];
        for (int v = 0; v < 4; v++)
            total[v] = _mm256_setzero_si256();
        for (int64_t k = 0; k < job->inner; k++) {
            const int32_t *row = job->table + 256 * row_codes[k];
            const uint8_t *at = columns->codes + k * LOOKUP_COLUMNS + c;
            for (int v = 0; v < 4; v++) {
                __m256i index = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(at + 8 * v)));
                total[v] = _mm256_add_epi32(total[v], _mm256_i32gather_epi32(row, index, 4));
            }
        }
        for (int v = 0; v < 4; v++)
            _mm256_storeu_si256((__m256i *)(sums + c + 8 * v), total[v]);
    }
}

static void mask_codes(const uint8_t *codes, int64_t n, uint8_t mask, uint8_t flip, uint8_t *out)
{
    kernels_portable.mask(codes, n, mask, flip, out);
}

static void map_codes(const uint8_t *codes, int64_t n, const uint8_t *map, uint8_t *out)
{
    kernels_portable.map(codes, n, map, out);
}

static void store(const int32_t *sums, int rows, int64_t n, const float *scale, const float *bias,
                  const int64_t *outputs, float *out)
{
    kernels_portable.store(sums, rows, n, scale, bias, outputs, out);
}

TARGET static void greater(const int8_t *other, int64_t n, int8_t *best)
{
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i *at = (__m256i *)(best + i);
        _mm256_storeu_si256(at, _mm256_max_epi8(_mm256_loadu_si256(at), _mm256_loadu_si256(
                                                    (const __m256i *)(other + i))));
    }
    if (i < n)
        kernels_portable.greater(other + i, n - i, best + i);
}

const Kernels kernels_avx2 = {
    .name = "avx2", .quantise = quantise, .mask = mask_codes, .map = map_codes, .tile = tile,
    .panels = 4, .rows = {12, 12, 6, 6}, .store = store, .lookup = lookup,
    .emit = emit_by_steps, .greater = greater};
#endif
