/* Portable C: any processor; also the plain statement of what the vector kernels compute. */
#include <math.h>
#include <string.h>

#include "native.h"

static void quantise(const float *x, int64_t n, float scale, uint8_t *codes)
{
    for (int64_t i = 0; i < n; i++) {
        float q = rintf(x[i] / scale);
        q = q > 127.0f ? 127.0f : q < -127.0f ? -127.0f : q;
        codes[i] = isnan(x[i]) ? 0 : (uint8_t)(int8_t)q;
    }
}

static void mask_codes(const uint8_t *codes, int64_t n, uint8_t mask, uint8_t flip, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (uint8_t)((codes[i] & mask) ^ flip);
}

static void map_codes(const uint8_t *codes, int64_t n, const uint8_t *map, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = map[codes[i]];
}

static void tile(const Tile *tile, int rows, int panels)
{
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < panels; n++) {
            int32_t *sums = tile->sums + (m * MAX_PANELS + n) * LANES;
            const int8_t *w = tile->w + n * tile->panel_bytes;
            memcpy(sums, tile->init + n * LANES, LANES * sizeof(int32_t));
            for (int64_t s = 0; s < tile->n_segments; s++) {
                const uint8_t *x = tile->x + tile->rows[m] + tile->segments[s];
                for (int64_t i = 0; i < 4 * tile->dwords; i += 4, w += 4 * LANES)
                    for (int lane = 0; lane < LANES; lane++)
                        sums[lane] += x[i] * w[4 * lane] + x[i + 1] * w[4 * lane + 1] +
                                      x[i + 2] * w[4 * lane + 2] + x[i + 3] * w[4 * lane + 3];
            }
        }
}

static void store(const int32_t *sums, int rows, int64_t n, const float *scale, const float *bias,
                  const int64_t *outputs, float *out)
{
    for (int m = 0; m < rows; m++, sums += MAX_PANELS * LANES)
        for (int64_t i = 0; i < n; i++) {
            float y = (float)sums[i] * scale[i];
            out[outputs[m] + i] = bias ? y + bias[i] : y;
        }
}

static void lookup(const Lookup *job, const Columns *columns, const uint8_t *row_codes,
                   int32_t *sums)
{
    memset(sums, 0, (size_t)columns->n * sizeof(int32_t));
    for (int64_t k = 0; k < job->inner; k++) {
        const int32_t *row = job->table + 256 * row_codes[k];
        for (int64_t c = 0; c < columns->n; c++)
            sums[c] += row[columns->codes[k * LOOKUP_COLUMNS + c]];
    }
}

static void greater(const int8_t *other, int64_t n, int8_t *best)
{
    for (int64_t i = 0; i < n; i++)
        best[i] = other[i] > best[i] ? other[i] : best[i];
}

const Kernels kernels_portable = {
    .name = "portable", .quantise = quantise, .mask = mask_codes, .map = map_codes, .tile = tile,
    .panels = 4, .rows = {12, 12, 6, 6}, .store = store, .lookup = lookup,
    .emit = emit_by_steps, .greater = greater};
