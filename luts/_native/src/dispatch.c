/* Which kernels this processor runs. AXDSE_MAX_ISA=portable|avx2|avx512|amx holds them back, for
 * tests; ARM has portable ones and neon. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "native.h"

static const Kernels *choose(void)
{
    const char *limit = getenv("AXDSE_MAX_ISA");
    int most = 3;
    if (limit && *limit)
        most = !strcmp(limit, "amx") ? 3 : !strcmp(limit, "avx512") ? 2 : !strcmp(limit, "avx2");
#ifdef AXDSE_X86
    __builtin_cpu_init();
    if (most >= 2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") &&
        __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vbmi")) {
#ifdef AXDSE_AMX
        const Kernels *amx = most >= 3 ? kernels_amx() : 0;
        if (amx)
            return amx;
#endif
        return &kernels_avx512;
    }
    if (most >= 1 && __builtin_cpu_supports("avx2"))
        return &kernels_avx2;
#endif
#ifdef AXDSE_NEON
    const Kernels *neon = !limit || strcmp(limit, "portable") ? kernels_neon() : 0;
    if (neon)
        return neon;
#endif
    (void)most;
    return &kernels_portable;
}

const Kernels *kernels(void)
{
    static const Kernels *chosen; /* every thread would choose the same */
    const Kernels *known = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (!known) {
        known = choose();
        __atomic_store_n(&chosen, known, __ATOMIC_RELAXED);
    }
    return known;
}

const char *axdse_isa(void)
{
    return kernels()->name;
}

int64_t axdse_max_depth(void)
{
    return kernels()->correct ? MAX_DEPTH : 0;
}

int64_t axdse_job_bytes(void)
{
    return sizeof(ProductJob);
}

int64_t axdse_lookup_bytes(void)
{
    return sizeof(Lookup);
}

typedef struct {
    const float *x;
    uint8_t *codes;
    int64_t n;
    float scale;
} Quantisation;

#define QUANTISE_BLOCK 65536

static void quantise_task(void *context, int64_t index)
{
    const Quantisation *q = context;
    int64_t at = index * QUANTISE_BLOCK, n = q->n - at < QUANTISE_BLOCK ? q->n - at : QUANTISE_BLOCK;
    kernels()->quantise(q->x + at, n, q->scale, q->codes + at);
}

/* Codes of n neighbouring values. */
void axdse_quantise(const float *x, int64_t n, double scale, uint8_t *codes, int64_t threads)
{
    Quantisation q = {x, codes, n, (float)scale};
    parallel_for(quantise_task, &q, (n + QUANTISE_BLOCK - 1) / QUANTISE_BLOCK, threads);
}
