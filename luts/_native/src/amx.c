/* AMX: one instruction adds 16 × 16 sums of 64 products. All else is AVX-512's. */
#include "native.h"

#ifdef AXDSE_AMX
#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET __attribute__((target("avx512f,amx-tile,amx-int8")))
#define INLINE TARGET static inline __attribute__((always_inline))
#define SIDE 16                /* rows and columns of one tile of sums */
#define DEPTH 16               /* dwords of the inner dimension of one whole tile */
#define FEW_ROWS 8             /* so few waste more of a tile than it is faster */

/* Tiles 0 … 3 are sums; whole runs of the inner dimension are read into 4 and 5, their ends, which
 * are shorter, into 6 and 7. */
#define FIRST 4
#define SECOND 5
#define FIRST_END 6
#define SECOND_END 7

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileShapes;

/* As instructions: the compilers' intrinsics do not say which memory they read. */
#define TILE_LOAD(t, from, distance) TILE_LOAD_(t, from, distance)
#define TILE_LOAD_(t, from, distance) \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(from), "r"((int64_t)(distance)) \
                     : "memory")
#define TILE_STORE(t, to, distance) \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(to), "r"((int64_t)(distance)) \
                     : "memory")
#define TILE_ADD(sums, first, second) TILE_ADD_(sums, first, second)
#define TILE_ADD_(sums, first, second) \
    __asm__ volatile("tdpbusd %%tmm" #second ", %%tmm" #first ", %%tmm" #sums ::)

/* Sixteen rows of the first operand: at one distance from each other, or to be gathered. */
typedef struct {
    const uint8_t *base;
    int64_t distance; /* 0: gather by `rows` */
    const int32_t *rows;
} Rows;

TARGET static void begin(int64_t dwords)
{
    TileShapes shapes = {.palette = 1};
    int end = (int)(dwords % DEPTH) ? (int)(dwords % DEPTH) : DEPTH;
    for (int t = 0; t < FIRST; t++) {
        shapes.rows[t] = SIDE;
        shapes.row_bytes[t] = 4 * SIDE;
    }
    shapes.rows[FIRST] = SIDE;
    shapes.row_bytes[FIRST] = 4 * DEPTH;
    shapes.rows[SECOND] = DEPTH;
    shapes.row_bytes[SECOND] = 4 * SIDE;
    shapes.rows[FIRST_END] = SIDE;
    shapes.row_bytes[FIRST_END] = (uint16_t)(4 * end);
    shapes.rows[SECOND_END] = (uint8_t)end;
    shapes.row_bytes[SECOND_END] = 4 * SIDE;
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

TARGET static void end(void)
{
    __asm__ volatile("tilerelease" ::);
}

static Rows rows_of(const Tile *tile, int first)
{
    Rows these = {.base = tile->x, .rows = tile->rows + first};
    int64_t distance = these.rows[1] - these.rows[0];
    for (int m = 2; m < SIDE; m++)
        if (these.rows[m] - these.rows[m - 1] != distance)
            return these;
    these.base += distance ? these.rows[0] : 0;
    these.distance = distance;
    return these;
}

INLINE const uint8_t *gathered(const Rows *rows, int64_t at, uint8_t *room, __mmask16 used)
{
    const uint8_t *from = rows->base + at;
#pragma GCC unroll 16
    for (int m = 0; m < SIDE; m++)
        _mm512_store_si512(room + 64 * m, _mm512_maskz_loadu_epi32(used, from + rows->rows[m]));
    return room;
}

#define LOAD_ROWS(to, block, at, used) \
    do { \
        if (first[block].distance) \
            TILE_LOAD(to, first[block].base + (at), first[block].distance); \
        else \
            TILE_LOAD(to, gathered(&first[block], at, room, used), 64); \
    } while (0)

/* Sums of `blocks` × `panels` tiles, onto which `depth` dwords from `at` are added. */
#define ADD(of_first, of_second, at, used) \
    do { \
        TILE_LOAD(of_second, w, 64); \
        LOAD_ROWS(of_first, 0, at, used); \
        TILE_ADD(0, of_first, of_second); \
        if (blocks > 1) { \
            LOAD_ROWS(of_first, 1, at, used); \
            TILE_ADD(1, of_first, of_second); \
        } \
        if (blocks > 2) { \
            LOAD_ROWS(of_first, 2, at, used); \
            TILE_ADD(2, of_first, of_second); \
        } \
        if (blocks > 3) { \
            LOAD_ROWS(of_first, 3, at, used); \
            TILE_ADD(3, of_first, of_second); \
        } \
        if (panels > 1) { \
            TILE_LOAD(of_second, w + tile->panel_bytes, 64); \
            if (blocks > 1) { \
                TILE_ADD(3, of_first, of_second); \
                LOAD_ROWS(of_first, 0, at, used); \
            } \
            TILE_ADD(2, of_first, of_second); \
        } \
    } while (0)

#define STORE(number, block, panel) \
    TILE_STORE(number, tile->sums + (SIDE * (block) * MAX_PANELS + (panel)) * LANES, \
                 MAX_PANELS * LANES * 4)

INLINE void tile_of(const Tile *tile, const Rows *first, const int blocks, const int panels)
{
    uint8_t room[SIDE * 64] __attribute__((aligned(64)));
    const int64_t dwords = tile->dwords, whole = dwords / DEPTH * DEPTH;
    const __mmask16 all = 0xffff, end_only = (__mmask16)((1u << (dwords - whole)) - 1);
    const int8_t *w = tile->w;
    TILE_LOAD(0, tile->init, 0); /* one row, sixteen times */
    if (blocks > 1)
        TILE_LOAD(1, tile->init, 0);
    if (blocks > 2)
        TILE_LOAD(2, tile->init, 0);
    if (blocks > 3)
        TILE_LOAD(3, tile->init, 0);
    if (panels > 1) {
        TILE_LOAD(2, tile->init + LANES, 0);
        if (blocks > 1)
            TILE_LOAD(3, tile->init + LANES, 0);
    }
    for (int64_t s = 0; s < tile->n_segments; s++) {
        int64_t at = tile->segments[s];
        for (int64_t i = 0; i < whole; i += DEPTH, at += 4 * DEPTH, w += 4 * LANES * DEPTH)
            ADD(FIRST, SECOND, at, all);
        if (whole < dwords) {
            ADD(FIRST_END, SECOND_END, at, end_only);
            w += 4 * LANES * (dwords - whole);
        }
    }
    STORE(0, 0, 0);
    if (blocks > 1)
        STORE(1, 1, 0);
    if (blocks > 2)
        STORE(2, 2, 0);
    if (blocks > 3)
        STORE(3, 3, 0);
    if (panels > 1) {
        STORE(2, 0, 1);
        if (blocks > 1)
            STORE(3, 1, 1);
    }
}

#define TILE(blocks, panels) \
    TARGET static void tile_##blocks##x##panels(const Tile *tile, const Rows *first) \
    { \
        tile_of(tile, first, blocks, panels); \
    }
TILE(1, 1) TILE(2, 1) TILE(3, 1) TILE(4, 1) TILE(1, 2) TILE(2, 2)

/* Up to 64 rows of one panel, 32 of two. */
static void tile(const Tile *tile, int rows, int panels)
{
    static void (*const tiles[2][4])(const Tile *, const Rows *) = {
        {tile_1x1, tile_2x1, tile_3x1, tile_4x1}, {tile_1x2, tile_2x2, 0, 0}};
    Rows first[4];
    if (rows <= FEW_ROWS) {
        kernels_avx512.tile(tile, rows, panels);
        return;
    }
    int blocks = (rows + SIDE - 1) / SIDE;
    for (int b = 0; b < blocks; b++)
        first[b] = rows_of(tile, SIDE * b);
    tiles[panels - 1][blocks - 1](tile, first);
}

/* Whether the processor has AMX, and the system lets this process use it. */
static int is_allowed(void)
{
    enum { REQUEST = 0x1023, TILE_DATA = 18, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_TILE) || !(d & AMX_INT8))
        return 0;
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
}

static Kernels amx;
static int is_usable;

static void make(void)
{
    amx = kernels_avx512;
    amx.name = "amx";
    amx.begin = begin;
    amx.end = end;
    amx.tile = tile;
    amx.panels = 2;
    amx.rows[0] = 4 * SIDE;
    amx.rows[1] = 2 * SIDE;
    amx.even_rows = SIDE;
    amx.correct = 0; /* more products cost less than counted bits */
    is_usable = is_allowed();
}

const Kernels *kernels_amx(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    return is_usable ? &amx : 0;
}
#endif
