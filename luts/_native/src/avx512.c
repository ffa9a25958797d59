/* AVX-512: VNNI for products, BITALG for the staircase of bits, VBMI for table look-ups. */
#include "avx512.h"

#ifdef AXDSE_X86
#include <math.h>

static inline int32_t load32(const uint8_t *p)
{
    int32_t value;
    __builtin_memcpy(&value, p, 4);
    return value;
}

TARGET static void quantise(const float *x, int64_t n, float scale, uint8_t *codes)
{
    enum { AHEAD = 256 }; /* without which large arrays take twice as long */
    const __m512 s = _mm512_set1_ps(scale), r = _mm512_set1_ps(1.0f / scale);
    int always = !(isnormal(scale) && isnormal(1.0f / scale));
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 four[4];
        for (int v = 0; v < 4; v++) {
            _mm_prefetch((const char *)(x + i + AHEAD + 16 * v), _MM_HINT_T0);
            four[v] = _mm512_loadu_ps(x + i + 16 * v);
        }
        _mm512_storeu_si512(codes + i, quantise64(four, s, r, always));
    }
    for (; i < n; i += 16) {
        __mmask16 used = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512i q = quantise16(_mm512_maskz_loadu_ps(used, x + i), s, r, always);
        _mm_mask_storeu_epi8(codes + i, used, _mm512_cvtepi32_epi8(q));
    }
}

TARGET static void mask_codes(const uint8_t *codes, int64_t n, uint8_t mask, uint8_t flip,
                              uint8_t *out)
{
    const __m512i m = _mm512_set1_epi8((char)mask), f = _mm512_set1_epi8((char)flip);
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        _mm512_storeu_si512(out + i, _mm512_xor_si512(_mm512_and_si512(
                                         _mm512_loadu_si512(codes + i), m), f));
    for (; i < n; i++)
        out[i] = (uint8_t)((codes[i] & mask) ^ flip);
}

TARGET static void map_codes(const uint8_t *codes, int64_t n, const uint8_t *map, uint8_t *out)
{
    __m512i m[4];
    for (int k = 0; k < 4; k++)
        m[k] = _mm512_loadu_si512(map + 64 * k);
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i index = _mm512_loadu_si512(codes + i);
        _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(
                                         _mm512_movepi8_mask(index),
                                         _mm512_permutex2var_epi8(m[0], index, m[1]),
                                         _mm512_permutex2var_epi8(m[2], index, m[3])));
    }
    for (; i < n; i++)
        out[i] = map[codes[i]];
}

/* n is a multiple of 64. */
TARGET static void bit_plane(const uint8_t *codes, int64_t n, int bit, uint8_t *plane)
{
    const __m512i mask = _mm512_set1_epi8((char)(1 << bit));
    for (int64_t i = 0; i < n; i += 64) {
        uint64_t bits = _mm512_test_epi8_mask(_mm512_loadu_si512(codes + i), mask);
        __builtin_memcpy(plane + i / 8, &bits, 8);
    }
}

#define TILE_ROWS 12

INLINE void tile_of(const Tile *tile, const int rows, const int panels)
{
    __m512i sums[TILE_ROWS][MAX_PANELS];
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < panels; n++)
            sums[m][n] = _mm512_loadu_si512(tile->init + LANES * n);
    const int8_t *w = tile->w;
    const int64_t panel_bytes = tile->panel_bytes, dwords = tile->dwords;
    for (int64_t s = 0; s < tile->n_segments; s++) {
        const uint8_t *x[TILE_ROWS];
        for (int m = 0; m < rows; m++)
            x[m] = tile->x + tile->rows[m] + tile->segments[s];
        for (int64_t i = 0; i < dwords; i++, w += 4 * LANES) {
            __m512i second[MAX_PANELS];
            for (int n = 0; n < panels; n++)
                second[n] = _mm512_loadu_si512(w + n * panel_bytes);
            for (int m = 0; m < rows; m++) {
                __m512i first = _mm512_set1_epi32(load32(x[m] + 4 * i));
                for (int n = 0; n < panels; n++)
                    sums[m][n] = _mm512_dpbusd_epi32(sums[m][n], first, second[n]);
            }
        }
    }
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < panels; n++)
            _mm512_storeu_si512(tile->sums + (m * MAX_PANELS + n) * LANES, sums[m][n]);
}

#define TILE(rows, panels) \
    TARGET static void tile_##rows##x##panels(const Tile *tile) { tile_of(tile, rows, panels); }
TILE(1, 1) TILE(2, 1) TILE(4, 1) TILE(6, 1) TILE(8, 1) TILE(12, 1)
TILE(1, 2) TILE(2, 2) TILE(4, 2) TILE(6, 2) TILE(8, 2) TILE(12, 2)
TILE(1, 3) TILE(2, 3) TILE(4, 3) TILE(6, 3)
TILE(1, 4) TILE(2, 4) TILE(4, 4) TILE(6, 4)

typedef void (*TileFunction)(const Tile *);

static void tile(const Tile *tile, int rows, int panels)
{
    static const TileFunction tiles[MAX_PANELS][6] = {
        {tile_1x1, tile_2x1, tile_4x1, tile_6x1, tile_8x1, tile_12x1},
        {tile_1x2, tile_2x2, tile_4x2, tile_6x2, tile_8x2, tile_12x2},
        {tile_1x3, tile_2x3, tile_4x3, tile_6x3, 0, 0},
        {tile_1x4, tile_2x4, tile_4x4, tile_6x4, 0, 0}};
    int size = rows > 8 ? 5 : rows > 6 ? 4 : rows > 4 ? 3 : rows > 2 ? 2 : rows > 1 ? 1 : 0;
    tiles[panels - 1][size](tile);
}

/* Takes the staircase Σ_{p+q<depth} 2^(p+q+shift)·(bit p of x)(bit q of w) off the sums: AND, count
 * per byte, and one VNNI product that adds four counts with their weight. */
INLINE void correct_of(const Tile *tile, const int first_row, const int rows, const int panel,
                       const int depth)
{
    __m512i sums[6];
    int32_t *at = tile->sums + (first_row * MAX_PANELS + panel) * LANES;
    for (int m = 0; m < rows; m++)
        sums[m] = _mm512_loadu_si512(at + m * MAX_PANELS * LANES);
    const __m512i weight = _mm512_set1_epi8((char)-(1 << tile->shift));
    const __m512i top_weight = _mm512_set1_epi8((char)-(8 << tile->shift));
    const uint32_t *w = tile->w_planes + panel * tile->panel_words;
    for (int64_t s = 0; s < tile->n_spatial; s++) {
        const uint8_t *x[6];
        for (int m = 0; m < rows; m++)
            x[m] = tile->planes + (tile->rows[first_row + m] + tile->segments[s]) / 8;
        for (int64_t i = 0; i < tile->plane_words; i++, w += depth * LANES) {
            __m512i second[MAX_DEPTH];
            for (int q = 0; q < depth; q++)
                second[q] = _mm512_loadu_si512(w + q * LANES);
            for (int m = 0; m < rows; m++) {
                __m512i first[MAX_DEPTH], count = _mm512_setzero_si512();
                for (int p = 0; p < depth; p++)
                    first[p] = _mm512_set1_epi32(load32(x[m] + p * tile->plane_bytes + 4 * i));
                for (int d = depth - 1; d >= 0; d--) { /* weights 2^d by Horner's rule */
                    if (d < depth - 1 - (depth == 4))
                        count = _mm512_add_epi8(count, count);
                    for (int p = 0; p <= d; p++)
                        count = _mm512_add_epi8(count, _mm512_popcnt_epi8(_mm512_and_si512(
                                                           first[p], second[d - p])));
                    if (d == 3) { /* 8·4 + … would not fit a byte with the rest */
                        sums[m] = _mm512_dpbusd_epi32(sums[m], count, top_weight);
                        count = _mm512_setzero_si512();
                    }
                }
                sums[m] = _mm512_dpbusd_epi32(sums[m], count, weight);
            }
        }
    }
    for (int m = 0; m < rows; m++)
        _mm512_storeu_si512(at + m * MAX_PANELS * LANES, sums[m]);
}

#define CORRECT(depth) \
    TARGET static void correct_##depth(const Tile *tile, int rows, int panels) \
    { \
        for (int n = 0; n < panels; n++) \
            for (int m = 0; m < rows;) { \
                if (rows - m >= 6) { correct_of(tile, m, 6, n, depth); m += 6; } \
                else if (rows - m >= 4) { correct_of(tile, m, 4, n, depth); m += 4; } \
                else if (rows - m >= 2) { correct_of(tile, m, 2, n, depth); m += 2; } \
                else { correct_of(tile, m, 1, n, depth); m += 1; } \
            } \
    }
CORRECT(1) CORRECT(2) CORRECT(3) CORRECT(4)

static void correct(const Tile *tile, int rows, int panels)
{
    static void (*const corrections[])(const Tile *, int, int) = {correct_1, correct_2, correct_3,
                                                                  correct_4};
    corrections[tile->depth - 1](tile, rows, panels);
}

/* Bit planes first … first + depth − 1 of one packed panel. */
TARGET static void pack_planes(const int8_t *w, int64_t dwords, int first, int64_t depth,
                               int64_t words, uint32_t *planes)
{
    const __m512i nibble = _mm512_set1_epi32(0x08040201);
    for (int64_t word = 0; word < words; word++)
        for (int64_t q = 0; q < depth; q++) {
            const __m512i bit = _mm512_set1_epi8((char)(1 << (first + q)));
            __m512i bits = _mm512_setzero_si512();
            for (int i = 0; i < 8 && 8 * word + i < dwords; i++) {
                __m512i bytes = _mm512_loadu_si512(w + (8 * word + i) * 4 * LANES);
                __m512i ones = _mm512_maskz_set1_epi8(_mm512_test_epi8_mask(bytes, bit), 1);
                __m512i four = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, nibble);
                bits = _mm512_or_si512(bits, _mm512_sllv_epi32(four, _mm512_set1_epi32(4 * i)));
            }
            _mm512_storeu_si512(planes + (word * depth + q) * LANES, bits);
        }
}

TARGET static void store(const int32_t *sums, int rows, int64_t n, const float *scale,
                         const float *bias, const int64_t *outputs, float *out)
{
    for (int64_t i = 0; i < n; i += LANES) {
        __mmask16 used = (__mmask16)(n - i >= LANES ? 0xffff : (1u << (n - i)) - 1);
        const __m512 factor = _mm512_maskz_loadu_ps(used, scale + i);
        const __m512 offset = bias ? _mm512_maskz_loadu_ps(used, bias + i) : _mm512_setzero_ps();
        for (int m = 0; m < rows; m++) {
            __m512 y = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums + m * MAX_PANELS * LANES + i));
            y = _mm512_mul_ps(y, factor);
            if (bias) /* two roundings, as PyTorch's two operations make */
                y = _mm512_add_ps(y, offset);
            _mm512_mask_storeu_ps(out + outputs[m] + i, used, y);
        }
    }
}

/* Look-ups: a row's 256 low and 256 high bytes lie in eight registers; vpermi2b finds 64 at once. */
#define VECTORS (LOOKUP_COLUMNS / 64)
#define FLUSH 256 /* 255·256 fits the 16-bit sums */

/* Form LOW_CODES: the upper half of the row is not wanted. MAGNITUDES: neither, and a negative
 * code's product is the complement of its magnitude's, which is too small by one, as
 * −T + 32768 = ~(T + 32768) + 1; the caller adds the ones. */
INLINE __m512i look_up(const __m512i t[4], __m512i index, __mmask64 upper, __m512i sign,
                       const int form)
{
    __m512i low = _mm512_permutex2var_epi8(t[0], index, t[1]);
    if (form == LOW_CODES)
        return low;
    if (form == MAGNITUDES)
        return _mm512_xor_si512(low, sign);
    return _mm512_mask_blend_epi8(upper, low, _mm512_permutex2var_epi8(t[2], index, t[3]));
}

/* 16-bit sums of low and high bytes, of 64 columns, onto 32-bit sums of the columns 4i + j. */
INLINE void flush(int32_t *sums, __m512i low, __m512i high, const int odd)
{
    const __m512i halves = _mm512_set1_epi32(0xffff);
    for (int upper = 0; upper < 2; upper++) {
        __m512i l = upper ? _mm512_srli_epi32(low, 16) : _mm512_and_si512(low, halves);
        __m512i h = upper ? _mm512_srli_epi32(high, 16) : _mm512_and_si512(high, halves);
        int32_t *at = sums + 16 * (odd + 2 * upper);
        _mm512_storeu_si512(at, _mm512_add_epi32(_mm512_loadu_si512(at),
                                                 _mm512_add_epi32(l, _mm512_slli_epi32(h, 8))));
    }
}

/* Brings the columns 4i + j of 64 sums into order: a transposition of 16 × 4. */
INLINE void put_in_order(int32_t *sums)
{
    __m512i s[4], pair[4], quad[4];
    for (int j = 0; j < 4; j++)
        s[j] = _mm512_loadu_si512(sums + 16 * j);
    pair[0] = _mm512_unpacklo_epi32(s[0], s[1]);
    pair[1] = _mm512_unpacklo_epi32(s[2], s[3]);
    pair[2] = _mm512_unpackhi_epi32(s[0], s[1]);
    pair[3] = _mm512_unpackhi_epi32(s[2], s[3]);
    quad[0] = _mm512_unpacklo_epi64(pair[0], pair[1]);
    quad[1] = _mm512_unpackhi_epi64(pair[0], pair[1]);
    quad[2] = _mm512_unpacklo_epi64(pair[2], pair[3]);
    quad[3] = _mm512_unpackhi_epi64(pair[2], pair[3]);
    __m512i a = _mm512_shuffle_i32x4(quad[0], quad[1], 0x44);
    __m512i b = _mm512_shuffle_i32x4(quad[2], quad[3], 0x44);
    __m512i c = _mm512_shuffle_i32x4(quad[0], quad[1], 0xee);
    __m512i d = _mm512_shuffle_i32x4(quad[2], quad[3], 0xee);
    _mm512_storeu_si512(sums, _mm512_shuffle_i32x4(a, b, 0x88));
    _mm512_storeu_si512(sums + 16, _mm512_shuffle_i32x4(a, b, 0xdd));
    _mm512_storeu_si512(sums + 32, _mm512_shuffle_i32x4(c, d, 0x88));
    _mm512_storeu_si512(sums + 48, _mm512_shuffle_i32x4(c, d, 0xdd));
}

INLINE void lookup_of(const Lookup *job, const Columns *columns, const uint8_t *row_codes,
                      int32_t *sums, const int vectors, const int form)
{
    const int64_t inner = job->inner;
    /* A product picks the odd bytes: a shift would wait for the permutations' ports. */
    const __m512i odd_bytes = _mm512_set1_epi16(0x0100);
    for (int v = 0; v < 4 * vectors; v++)
        _mm512_storeu_si512(sums + 16 * v, _mm512_set1_epi32((int32_t)(-32768 * inner)));
    for (int64_t from = 0; from < inner; from += FLUSH) {
        int64_t to = from + FLUSH < inner ? from + FLUSH : inner;
        __m512i all[2][VECTORS], odd[2][VECTORS]; /* of low, of high bytes */
        for (int v = 0; v < vectors; v++)
            all[0][v] = odd[0][v] = all[1][v] = odd[1][v] = _mm512_setzero_si512();
        for (int64_t k = from; k < to; k++) {
            const uint8_t *row = (const uint8_t *)job->biased + 512 * row_codes[k];
            __m512i index[VECTORS], sign[VECTORS];
            __mmask64 upper[VECTORS];
            for (int v = 0; v < vectors; v++) {
                int64_t at = k * LOOKUP_COLUMNS + 64 * v;
                index[v] = _mm512_loadu_si512(columns->codes + at);
                sign[v] = form == MAGNITUDES ? _mm512_loadu_si512(columns->signs + at) : index[v];
                upper[v] = form == ANY_CODES ? _mm512_movepi8_mask(index[v]) : 0;
            }
            for (int byte = 0; byte < 2; byte++) {
                __m512i t[4];
                for (int i = 0; i < (form == ANY_CODES ? 4 : 2); i++) {
                    t[i] = _mm512_loadu_si512(row + 256 * byte + 64 * i);
                    __asm__("" : "+v"(t[i])); /* load once, not once a vector */
                }
                for (int v = 0; v < vectors; v++) {
                    /* Two bytes a lane: Σ(even + 256·odd) modulo 2^16, and Σ odd. */
                    __m512i found = look_up(t, index[v], upper[v], sign[v], form);
                    all[byte][v] = _mm512_add_epi16(all[byte][v], found);
                    odd[byte][v] = _mm512_add_epi16(odd[byte][v],
                                                    _mm512_maddubs_epi16(found, odd_bytes));
                }
            }
        }
        for (int v = 0; v < vectors; v++) {
            __m512i even[2];
            for (int byte = 0; byte < 2; byte++) /* at most 255·256: exact modulo 2^16 */
                even[byte] = _mm512_sub_epi16(all[byte][v], _mm512_slli_epi16(odd[byte][v], 8));
            flush(sums + 64 * v, even[0], even[1], 0);
            flush(sums + 64 * v, odd[0][v], odd[1][v], 1);
        }
    }
    for (int v = 0; v < vectors; v++)
        put_in_order(sums + 64 * v);
    for (int c = 0; form == MAGNITUDES && c < 64 * vectors; c += 16)
        _mm512_storeu_si512(sums + c, _mm512_add_epi32(_mm512_loadu_si512(sums + c),
                                                       _mm512_loadu_si512(columns->negative + c)));
}

#define LOOKUP(vectors, form) \
    TARGET static void lookup_##vectors##_##form(const Lookup *job, const Columns *columns, \
                                                 const uint8_t *row_codes, int32_t *sums) \
    { \
        lookup_of(job, columns, row_codes, sums, vectors, form); \
    }
LOOKUP(1, 0) LOOKUP(2, 0) LOOKUP(3, 0) LOOKUP(4, 0)
LOOKUP(1, 1) LOOKUP(2, 1) LOOKUP(3, 1) LOOKUP(4, 1)
LOOKUP(1, 2) LOOKUP(2, 2) LOOKUP(3, 2) LOOKUP(4, 2)

static void lookup(const Lookup *job, const Columns *columns, const uint8_t *row_codes,
                   int32_t *sums)
{
    static void (*const lookups[3][VECTORS])(const Lookup *, const Columns *, const uint8_t *,
                                             int32_t *) = {
        [ANY_CODES] = {lookup_1_0, lookup_2_0, lookup_3_0, lookup_4_0},
        [LOW_CODES] = {lookup_1_1, lookup_2_1, lookup_3_1, lookup_4_1},
        [MAGNITUDES] = {lookup_1_2, lookup_2_2, lookup_3_2, lookup_4_2}};
    lookups[columns->form][(columns->n + 63) / 64 - 1](job, columns, row_codes, sums);
}

const Kernels kernels_avx512 = {
    .name = "avx512", .quantise = quantise, .mask = mask_codes, .map = map_codes,
    .planes = bit_plane, .tile = tile, .panels = 4, .rows = {TILE_ROWS, TILE_ROWS, 6, 6},
    .correct = correct, .pack_planes = pack_planes, .store = store, .lookup = lookup,
    .takes_signs = 1,
    .emit = emit_avx512, .greater = greater_avx512};
#endif
