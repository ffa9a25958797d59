/* What becomes of a layer's sums where the next layer reads codes: scaled, added to, rectified and
 * quantised while they are at hand; and the greatest code of every window, as codes are in the order
 * of what they stand for. */
#include <string.h>

#include "native.h"

/* As PyTorch does: a NaN stays, and so does the sign of a zero. */
static float rectified(float y)
{
    return y < 0.0f ? 0.0f : y;
}

void emit_by_steps(const ProductJob *job, const int32_t *sums, int rows, int64_t n, int64_t column,
                   const int64_t *outputs)
{
    const Kernels *own = kernels();
    const float *bias = job->bias ? job->bias + column : NULL;
    const int64_t start = 0;
    float y[MAX_PANELS * LANES];
    for (int m = 0; m < rows; m++, sums += MAX_PANELS * LANES) {
        int64_t at = outputs[m] + column;
        own->store(sums, 1, n, job->scale + column, bias, &start, y);
        if (job->added)
            for (int64_t i = 0; i < n; i++)
                y[i] += job->added_is_rectified ? rectified(job->added[at + i]) : job->added[at + i];
        if (job->out)
            memcpy((float *)job->out + at, y, (size_t)n * sizeof(float));
        if (!job->codes)
            continue;
        if (job->codes_are_rectified)
            for (int64_t i = 0; i < n; i++)
                y[i] = rectified(y[i]);
        own->quantise(y, n, (float)job->codes_scale, job->codes + at);
    }
}

/* One row of outputs. What is padded is minus infinity, and its code the least. */
static void pool_row(void *context, int64_t index)
{
    const MaxPool *pool = context;
    const int64_t channels = pool->channels;
    const int8_t *image = pool->x + index / pool->out_h * pool->height * pool->width * channels;
    int8_t *out = pool->out + index * pool->out_w * channels;
    int64_t top = index % pool->out_h * pool->stride_h - pool->padding_h;
    memset(out, -127, (size_t)(pool->out_w * channels));
    for (int64_t i = 0; i < pool->kernel_h; i++) {
        int64_t row = top + i * pool->dilation_h;
        if (row < 0 || row >= pool->height)
            continue;
        for (int64_t j = 0; j < pool->out_w; j++)
            for (int64_t k = 0; k < pool->kernel_w; k++) {
                int64_t at = j * pool->stride_w - pool->padding_w + k * pool->dilation_w;
                if (at >= 0 && at < pool->width)
                    kernels()->greater(image + (row * pool->width + at) * channels, channels,
                                       out + j * channels);
            }
    }
}

void axdse_max_pool(const MaxPool *pool)
{
    parallel_for(pool_row, (void *)pool, pool->batch * pool->out_h, pool->threads);
}

int64_t axdse_max_pool_bytes(void)
{
    return sizeof(MaxPool);
}
