/* What codes stand for, which gradients are products of, and where values were clipped. */
#include <math.h>
#include <string.h>

#include "native.h"

#define BLOCK 65536 /* values of one task */
#define CHUNK 256   /* values whose codes lie on the stack */

typedef struct {
    const float *x;
    int64_t n;
    float scale, bound;
    void *values; /* float32, or bfloat16 */
    int64_t low;
    int64_t *clipped, room;
    int64_t found;
} Dequantisation;

#if defined(AXDSE_X86)
#define WITH_AVX2 __attribute__((target("avx2")))
#define WITH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))
#endif
#define INLINE static inline __attribute__((always_inline))

/* code·scale as float32, or rounded to bfloat16, half to even. */
INLINE void convert_of(const uint8_t *codes, int64_t n, float scale, int low, void *values)
{
    const int8_t *c = (const int8_t *)codes;
    if (low) {
        uint16_t *to = values;
        for (int64_t i = 0; i < n; i++) {
            union { float value; uint32_t bits; } one = {(float)c[i] * scale};
            to[i] = (uint16_t)((one.bits + 0x7fff + (one.bits >> 16 & 1)) >> 16);
        }
    } else {
        float *to = values;
        for (int64_t i = 0; i < n; i++)
            to[i] = (float)c[i] * scale;
    }
}

/* Whether any of n values is above the bound or not a number. */
INLINE int any_clipped_of(const float *x, int64_t n, float bound)
{
    int clipped = 0;
    for (int64_t i = 0; i < n; i++)
        clipped |= !(fabsf(x[i]) <= bound);
    return clipped;
}

#define VARIANT(name, target) \
    target static void convert_##name(const uint8_t *codes, int64_t n, float scale, int low, \
                                      void *values) \
    { \
        convert_of(codes, n, scale, low, values); \
    } \
    target static int any_clipped_##name(const float *x, int64_t n, float bound) \
    { \
        return any_clipped_of(x, n, bound); \
    }
VARIANT(plain, )
#if defined(AXDSE_X86)
VARIANT(avx2, WITH_AVX2)
VARIANT(avx512, WITH_AVX512)
#endif

static void list_clipped(Dequantisation *job, int64_t from, int64_t n)
{
    for (int64_t i = from; i < from + n; i++)
        if (!(fabsf(job->x[i]) <= job->bound)) {
            int64_t at = __atomic_fetch_add(&job->found, 1, __ATOMIC_RELAXED);
            if (at < job->room)
                job->clipped[at] = i;
        }
}

static void dequantise_task(void *context, int64_t index)
{
    Dequantisation *job = context;
    void (*convert)(const uint8_t *, int64_t, float, int, void *) = convert_plain;
    int (*any_clipped)(const float *, int64_t, float) = any_clipped_plain;
#if defined(AXDSE_X86)
    if (kernels() == &kernels_avx2)
        convert = convert_avx2, any_clipped = any_clipped_avx2;
    else if (kernels() != &kernels_portable)
        convert = convert_avx512, any_clipped = any_clipped_avx512;
#endif
    uint8_t codes[CHUNK];
    int64_t from = index * BLOCK, end = job->n - from < BLOCK ? job->n : from + BLOCK;
    for (int64_t at = from; at < end; at += CHUNK) {
        int64_t n = end - at < CHUNK ? end - at : CHUNK;
        kernels()->quantise(job->x + at, n, job->scale, codes);
        convert(codes, n, job->scale, job->low, (char *)job->values + at * (job->low ? 2 : 4));
        if (job->clipped && any_clipped(job->x + at, n, job->bound))
            list_clipped(job, at, n);
    }
}

/* What the codes of n neighbouring values stand for, bfloat16 if `low`. Lists where the magnitude is
 * above `bound`, or not a number, in any order, up to `room` places unless `clipped` is NULL.
 * Returns how many there are. */
int64_t axdse_dequantise(const float *x, int64_t n, double scale, void *values, int64_t low,
                          double bound, int64_t *clipped, int64_t room, int64_t threads)
{
    Dequantisation job = {x, n, (float)scale, (float)bound, values, low, clipped, room, 0};
    parallel_for(dequantise_task, &job, ceil_div(n, BLOCK), threads);
    return job.found;
}
