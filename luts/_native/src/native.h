/* Kernels that make every product of a matrix product with a multiplier circuit.
 *
 * Plain C without Python or PyTorch headers: Python fills a `ProductJob` or a `Lookup` (the same
 * fields, in the same order, in luts/_native/_structures.py) and calls `axdse_product` or
 * `axdse_lookup` through ctypes.
 * Every pointer is borrowed for the length of the call. Strides count elements.
 */
#ifndef AXDSE_NATIVE_H
#define AXDSE_NATIVE_H

#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define AXDSE_X86 1
#endif
#if defined(AXDSE_X86) && defined(__linux__) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define AXDSE_AMX 1
#endif
#if defined(__aarch64__) && defined(__GNUC__) && \
    (defined(__ARM_FEATURE_DOTPROD) || !defined(__clang__))
#define AXDSE_NEON 1
#endif

#define LANES 16      /* columns of one packed panel of the second operand */
#define MAX_ROWS 64   /* most rows of one tile */
#define MAX_PANELS 4  /* most panels of one tile */
#define MAX_DEPTH 4   /* longest staircase that is corrected by counting bits */
#define LOOKUP_COLUMNS 256 /* columns of one block of a table product */
#define SLACK 256     /* bytes that kernels may read beyond a buffer's end */

/* One product: a convolution, of which a matrix product is the case with a 1×1 kernel. */
typedef struct {
    /* First operand: float32 to be quantised, or int8 codes; channels lie next to each other. */
    const void *x;
    int64_t x_is_codes;
    int64_t outer, inner;                        /* two batch dimensions */
    int64_t x_outer, x_inner, x_row, x_column;   /* strides */
    int64_t height, width, channels, channels_padded;
    int64_t kernel_h, kernel_w, stride_h, stride_w;
    int64_t padding_h, padding_w, dilation_h, dilation_w;
    int64_t groups, out_h, out_w;
    /* The circuit: terms u_t(x)·v_t(w), by code and offset by 128, less a staircase of bits. */
    int64_t terms;
    const uint8_t *u;                            /* terms × 256 */
    const uint8_t *u_masks;                      /* terms, or NULL: u_t(x) = x & mask_t */
    int64_t depth, first_plane, shift;
    /* Second operand, packed (see pack.c), or NULL where `second` is to be packed per batch. */
    const int8_t *w;
    const uint32_t *w_planes;
    const int32_t *w_offsets;
    int64_t columns;                             /* of one group */
    const void *second;
    int64_t second_is_codes, second_outer, second_inner, second_k, second_n;
    const uint8_t *v;                            /* terms × 256, by code */
    const uint8_t *v_masks;                      /* terms, or NULL */
    int64_t second_plane;
    /* Result: channels lie next to each other. float32: sum·scale + bias; or int32 sums. */
    void *out;
    int64_t out_is_sums, out_outer, out_inner, out_pixel;
    const float *scale, *bias;
    double x_scale, second_scale;
    int64_t threads;
    /* Beside `out`, or in its place where that is NULL: codes for the next layer, at the same
     * offsets. `added`, too, lies as `out` does. With y = sum·scale + bias + added, out is y and
     * codes are those of max(y, 0), or of y. */
    const float *added;          /* or NULL */
    int64_t added_is_rectified;  /* max(added, 0) is added */
    uint8_t *codes;              /* or NULL */
    int64_t codes_are_rectified;
    double codes_scale;
} ProductJob;

/* The greatest of every window of codes whose channels lie next to each other. */
typedef struct {
    const int8_t *x;             /* batch × height × width × channels */
    int64_t batch, height, width, channels;
    int64_t kernel_h, kernel_w, stride_h, stride_w;
    int64_t padding_h, padding_w, dilation_h, dilation_w;
    int64_t out_h, out_w;
    int8_t *out;                 /* batch × out_h × out_w × channels */
    int64_t threads;
} MaxPool;

/* Rows × panels of one register tile. */
typedef struct {
    const uint8_t *x;
    const uint8_t *planes;        /* bit planes of x, `plane_bytes` apart */
    int64_t plane_bytes;
    const int32_t *rows;          /* byte offset of each row */
    const int32_t *segments;      /* byte offset of each run of the inner dimension */
    int64_t n_segments, n_spatial, dwords, plane_words;
    const int8_t *w;
    int64_t panel_bytes;
    const uint32_t *w_planes;
    int64_t panel_words;
    const int32_t *init;
    int64_t depth, shift;
    int32_t *sums;                /* MAX_ROWS × (MAX_PANELS·LANES) */
} Tile;

/* One table product: out[r, c] = Σ_k table[rows[r, k], columns[k, c]], which may be scaled. */
typedef struct {
    const uint16_t *biased;       /* table + 32768: 256 rows of 256 low bytes, 256 high bytes */
    const int32_t *table;         /* 256 × 256 */
    int64_t columns_odd;          /* table[r, −c] = −table[r, c] for c = 1 … 127 */
    const uint8_t *row_codes;     /* rows × inner */
    int64_t n_rows, inner;
    const uint8_t *columns;       /* padded planes: batch × channels × height × width */
    int64_t batch, channels, height, width;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int64_t groups, out_h, out_w;
    int64_t rows_vary;            /* the rows have the batch dimension too */
    /* batch × rows × (out_h·out_w). int32 sums where `scale` is NULL; else float32, sum·scale +
     * bias, with one scale and bias per row, or per column. */
    void *out;
    const float *scale, *bias;
    int64_t scale_by_column;
    int64_t threads;
} Lookup;

/* A block of columns: inner × LOOKUP_COLUMNS codes, of which the first n of a line are wanted. */
typedef struct {
    uint8_t *codes;
    int64_t n;
    enum { ANY_CODES, LOW_CODES, MAGNITUDES } form; /* LOW_CODES: all of them below 128 */
    /* With MAGNITUDES, all ones where the code was negative, and how many were, by column. */
    uint8_t *signs;
    int32_t negative[LOOKUP_COLUMNS];
} Columns;

typedef void (*TileKernel)(const Tile *, int rows, int panels);

/* What differs between instruction sets. */
typedef struct {
    const char *name;
    void (*quantise)(const float *x, int64_t n, float scale, uint8_t *codes);
    /* out = (codes & mask) ^ flip */
    void (*mask)(const uint8_t *codes, int64_t n, uint8_t mask, uint8_t flip, uint8_t *out);
    /* out = map[codes], with 256 entries */
    void (*map)(const uint8_t *codes, int64_t n, const uint8_t *map, uint8_t *out);
    void (*planes)(const uint8_t *codes, int64_t n, int bit, uint8_t *plane);
    /* Called before and after a thread's tiles of runs of so many dwords; NULL for nothing. */
    void (*begin)(int64_t dwords);
    void (*end)(void);
    TileKernel tile;
    int panels;      /* most panels of a tile, and the most rows by the number of its panels */
    int rows[MAX_PANELS];
    int even_rows;   /* so many rows of a tile are read faster at one distance; 0: all the same */
    /* Both NULL where bits cannot be counted fast. */
    void (*correct)(const Tile *, int rows, int panels);
    void (*pack_planes)(const int8_t *w, int64_t dwords, int first, int64_t depth, int64_t words,
                        uint32_t *planes);
    /* Writes rows of n scaled sums; row m begins at out[outputs[m]]. */
    void (*store)(const int32_t *sums, int rows, int64_t n, const float *scale, const float *bias,
                  const int64_t *outputs, float *out);
    void (*lookup)(const Lookup *, const Columns *, const uint8_t *row_codes, int32_t *sums);
    int takes_signs;
    /* `store` for a job with codes or something added; scales, biases and rows begin at `column`. */
    void (*emit)(const ProductJob *, const int32_t *sums, int rows, int64_t n, int64_t column,
                 const int64_t *outputs);
    /* best = max(best, other), codes. */
    void (*greater)(const int8_t *other, int64_t n, int8_t *best);
} Kernels;

extern const Kernels kernels_portable;
#ifdef AXDSE_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif
/* NULL where they cannot be used. */
#ifdef AXDSE_AMX
const Kernels *kernels_amx(void);
#endif
#ifdef AXDSE_NEON
const Kernels *kernels_neon(void);
#endif
const Kernels *kernels(void);

static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* layout.c: whether the taps of a row of the window lie next to each other, in one run; bytes of a
 * run; runs of one term; room that one panel of a packed second operand takes. */
int taps_are_neighbours(const ProductJob *);
int64_t run_bytes(const ProductJob *);
int64_t runs_of(const ProductJob *);
int64_t packed_dwords(const ProductJob *);      /* of the inner dimension, all terms */
int64_t packed_plane_words(const ProductJob *); /* of one bit plane */

/* emit.c: `Kernels.emit` with what the kernels at work have already. */
void emit_by_steps(const ProductJob *, const int32_t *sums, int rows, int64_t n, int64_t column,
                   const int64_t *outputs);

/* pack.c: packs the codes of one batch, whose rows run along k or along n. */
void pack_second(const ProductJob *, const uint8_t *codes, int along_k, int8_t *w,
                 uint32_t *planes, int32_t *offsets);

typedef void (*Task)(void *context, int64_t index);
/* Calls task(context, 0 … n − 1) from up to `threads` threads. */
void parallel_for(Task task, void *context, int64_t n, int64_t threads);
void *buffer_new(int64_t bytes);
void buffer_free(void *);

#endif
