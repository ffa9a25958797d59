/* Codes of a layer's weight, and their packed form (pack.c): in fine-tuning, with every step. */
#include <string.h>

#include "native.h"

/* The largest magnitude of each row; not a number where a value is none. */
void axdse_largest_of_rows(const float *x, int64_t rows, int64_t n, float *largest)
{
    for (int64_t row = 0; row < rows; row++, x += n) {
        uint32_t most = 0; /* bits of magnitudes lie in their order, those of NaN above all */
        for (int64_t i = 0; i < n; i++) {
            uint32_t bits;
            memcpy(&bits, x + i, 4);
            bits &= 0x7fffffff;
            most = bits > most ? bits : most;
        }
        memcpy(largest + row, &most, 4);
    }
}

/* Codes of rows that follow each other, each under a scale of its own. */
void axdse_quantise_rows(const float *x, int64_t rows, int64_t n, const float *scales,
                         uint8_t *codes)
{
    for (int64_t row = 0; row < rows; row++)
        if (scales[row] != scales[row]) /* of a weight that is not a number: neither is a code */
            memset(codes + row * n, 0, (size_t)n);
        else
            kernels()->quantise(x + row * n, n, scales[row], codes + row * n);
}

/* Dwords of values, and words of one bit plane, of a column. */
void axdse_packed_size(const ProductJob *job, int64_t *dwords, int64_t *words)
{
    *dwords = packed_dwords(job);
    *words = packed_plane_words(job);
}

/* What one column of the weight is packed from. */
typedef struct {
    int64_t channels, taps;   /* of one column */
    int64_t runs, run, depth; /* runs; bytes of one; channels as they lie in it */
    uint8_t *codes, *values;  /* taps × channels */
    uint8_t *padded;          /* one run */
} Column;

static void read_codes(const ProductJob *job, const Column *column, const int8_t *codes,
                       const int64_t *strides)
{
    uint8_t *to = column->codes;
    for (int64_t row = 0; row < job->kernel_h; row++)
        for (int64_t tap = 0; tap < job->kernel_w; tap++, to += column->channels) {
            const int8_t *from = codes + row * strides[2] + tap * strides[3];
            if (strides[1] == 1)
                memcpy(to, from, (size_t)column->channels);
            else
                for (int64_t c = 0; c < column->channels; c++)
                    to[c] = (uint8_t)from[c * strides[1]];
        }
}

/* One run, its channels and its end padded with zeros. */
static const uint8_t *padded_run(const Column *column, const uint8_t *values, int64_t run)
{
    int64_t taps = column->taps / column->runs, channels = column->channels;
    const uint8_t *from = values + run * taps * channels;
    if (column->depth == channels)
        memcpy(column->padded, from, (size_t)(taps * channels));
    else
        for (int64_t tap = 0; tap < taps; tap++)
            memcpy(column->padded + tap * column->depth, from + tap * channels, (size_t)channels);
    return column->padded;
}

static int32_t write_values(const Column *column, const uint8_t *values, int8_t *to)
{
    int64_t dwords = ceil_div(column->run, 4);
    int32_t sum = 0;
    for (int64_t run = 0; run < column->runs; run++) {
        const uint8_t *from = padded_run(column, values, run);
        for (int64_t i = 0; i < dwords; i++, to += 4 * LANES)
            memcpy(to, from + 4 * i, 4);
        for (int64_t i = 0; i < 4 * dwords; i++)
            sum += (int8_t)from[i];
    }
    return sum;
}

static void write_planes(const ProductJob *job, const Column *column, uint32_t *to)
{
    int64_t words = ceil_div(column->run, 32);
    for (int64_t run = 0; run < column->runs; run++) {
        const uint8_t *from = padded_run(column, column->codes, run);
        for (int64_t word = 0; word < words; word++, from += 32)
            for (int64_t q = 0; q < job->depth; q++, to += LANES) {
                uint32_t bits = 0;
                for (int i = 0; i < 32; i++)
                    bits |= (uint32_t)(from[i] >> (job->second_plane + q) & 1) << i;
                *to = bits;
            }
    }
}

static void pack_column(const ProductJob *job, const Column *column, int8_t *w, uint32_t *planes,
                        int32_t *offset)
{
    int64_t n = column->taps * column->channels, dwords = packed_dwords(job) / job->terms;
    int32_t sum = 0;
    for (int64_t t = 0; t < job->terms; t++, w += dwords * 4 * LANES) {
        if (job->v_masks)
            kernels()->mask(column->codes, n, job->v_masks[t], 0, column->values);
        else
            kernels()->map(column->codes, n, job->v + 256 * t, column->values);
        sum += write_values(column, column->values, w);
    }
    *offset = -128 * sum;
    if (job->depth)
        write_planes(job, column, planes);
}

/* Packs int8 codes of shape (groups·columns, channels / groups, kernel rows, kernel columns) with
 * these strides into `w`, `planes` and `offsets`, which are zero. */
void axdse_pack_layer(const ProductJob *job, const int8_t *codes, const int64_t *strides,
                      int8_t *w, uint32_t *planes, int32_t *offsets)
{
    int64_t panels = ceil_div(job->columns, LANES), dwords = packed_dwords(job);
    int64_t plane_words = packed_plane_words(job) * job->depth;
    Column column = {.channels = job->channels / job->groups,
                     .taps = job->kernel_h * job->kernel_w,
                     .runs = runs_of(job),
                     .run = run_bytes(job)};
    column.depth = taps_are_neighbours(job) ? job->channels_padded : column.channels;
    int64_t n = column.taps * column.channels, run = 32 * ceil_div(column.run, 32);
    column.codes = buffer_new(2 * n + run);
    column.values = column.codes + n;
    column.padded = column.values + n;
    memset(column.padded, 0, (size_t)run);
    for (int64_t g = 0; g < job->groups; g++)
        for (int64_t c = 0; c < job->columns; c++) {
            int64_t panel = g * panels + c / LANES, lane = c % LANES;
            read_codes(job, &column, codes + (g * job->columns + c) * strides[0], strides);
            pack_column(job, &column, w + panel * dwords * 4 * LANES + 4 * lane,
                        planes + panel * plane_words * LANES + lane,
                        offsets + panel * LANES + lane);
        }
    buffer_free(column.codes);
}
