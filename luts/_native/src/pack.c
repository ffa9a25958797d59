/* The packed form of a second operand, of a matrix w[k, n]:
 *
 *   w        [panel of 16 columns][dword of 4 inner indices][column][4]   v_t(w), terms one after
 *            the other, every run of the inner dimension padded with zeros to whole dwords
 *   planes   [panel][word of 32 inner indices][bit plane][column]         bits of the codes
 *   offsets  [panel][column]                                             −128·Σ_k w, which takes
 *            back the 128 that makes the first operand unsigned
 *
 * Layers pack their weights once, in Python; this is for operands that change with each call. */
#include <string.h>

#include "native.h"

static void interleave(const uint8_t *values, int64_t k, int64_t n, int64_t panel, int8_t *to)
{
    int64_t lanes = n - panel * LANES < LANES ? n - panel * LANES : LANES;
    for (int64_t i = 0; i < k; i += 4, to += 4 * LANES) {
        int64_t depth = k - i < 4 ? k - i : 4;
        const uint8_t *from = values + i * n + panel * LANES;
        if (depth == 4 && lanes == LANES) {
            for (int lane = 0; lane < LANES; lane++)
                for (int j = 0; j < 4; j++)
                    to[4 * lane + j] = (int8_t)from[j * n + lane];
            continue;
        }
        memset(to, 0, 4 * LANES);
        for (int64_t lane = 0; lane < lanes; lane++)
            for (int64_t j = 0; j < depth; j++)
                to[4 * lane + j] = (int8_t)from[j * n + lane];
    }
}

static void gather(const uint8_t *values, int64_t k, int64_t n, int64_t panel, int8_t *to)
{
    int64_t lanes = n - panel * LANES < LANES ? n - panel * LANES : LANES;
    int64_t dwords = (k + 3) / 4;
    if (lanes < LANES || k % 4)
        memset(to, 0, (size_t)(dwords * 4 * LANES));
    for (int64_t lane = 0; lane < lanes; lane++) {
        const uint8_t *from = values + (panel * LANES + lane) * k;
        for (int64_t i = 0; i < k / 4; i++)
            memcpy(to + (i * LANES + lane) * 4, from + 4 * i, 4);
        if (k % 4)
            memcpy(to + (k / 4 * LANES + lane) * 4, from + k / 4 * 4, (size_t)(k % 4));
    }
}

static void sum_columns(const int8_t *w, int64_t dwords, int32_t *offsets)
{
    int32_t sums[LANES] = {0};
    for (int64_t i = 0; i < dwords; i++, w += 4 * LANES)
        for (int lane = 0; lane < LANES; lane++)
            sums[lane] += w[4 * lane] + w[4 * lane + 1] + w[4 * lane + 2] + w[4 * lane + 3];
    for (int lane = 0; lane < LANES; lane++)
        offsets[lane] = -128 * sums[lane];
}

void pack_second(const ProductJob *job, const uint8_t *codes, int along_k, int8_t *w,
                 uint32_t *planes, int32_t *offsets)
{
    int64_t k = job->channels, n = job->columns, panels = (n + LANES - 1) / LANES;
    int64_t dwords = packed_dwords(job), per_term = dwords / job->terms;
    int64_t words = packed_plane_words(job), used = (k + 3) / 4;
    uint8_t *values = buffer_new(k * n);
    for (int64_t t = 0; t < job->terms; t++) {
        if (job->v_masks)
            kernels()->mask(codes, k * n, job->v_masks[t], 0, values);
        else
            kernels()->map(codes, k * n, job->v + 256 * t, values);
        for (int64_t p = 0; p < panels; p++) {
            int8_t *to = w + (p * dwords + t * per_term) * 4 * LANES;
            if (along_k)
                gather(values, k, n, p, to);
            else
                interleave(values, k, n, p, to);
            memset(to + used * 4 * LANES, 0, (size_t)((per_term - used) * 4 * LANES));
        }
    }
    for (int64_t p = 0; p < panels; p++) {
        const int8_t *panel = w + p * dwords * 4 * LANES;
        sum_columns(panel, dwords, offsets + p * LANES);
        if (job->depth)
            kernels()->pack_planes(panel, dwords, (int)job->second_plane, job->depth, words,
                                   planes + p * words * job->depth * LANES);
    }
    buffer_free(values);
}
