/* The baseline of studies/emulation_speed: one look-up after the other, in the loop order of AdaPT
 * (Danopoulos et al., IEEE TCAD 2023, arXiv 2203.04071): rows, columns, inner indices, with eight
 * partial sums, a 16-bit table, and the second operand transposed. Not used to compute anything. */
#include "native.h"

typedef struct {
    const int16_t (*table)[256];
    const uint8_t *a, *b; /* (m, k), (n, k) */
    int64_t n, k;
    int32_t *out;
} Loop;

static void row_task(void *context, int64_t i)
{
    const Loop *loop = context;
    const uint8_t *a = loop->a + i * loop->k;
    int64_t whole = loop->k / 8 * 8;
    for (int64_t j = 0; j < loop->n; j++) {
        const uint8_t *b = loop->b + j * loop->k;
        int32_t sums[8] = {0}, total = 0;
        for (int64_t k = 0; k < whole; k += 8)
            for (int p = 0; p < 8; p++)
                sums[p] += loop->table[a[k + p]][b[k + p]];
        for (int64_t k = whole; k < loop->k; k++)
            total += loop->table[a[k]][b[k]];
        for (int p = 0; p < 8; p++)
            total += sums[p];
        loop->out[i * loop->n + j] = total;
    }
}

void axdse_scalar_loop(const int16_t *table, const uint8_t *a, const uint8_t *b, int64_t m,
                       int64_t n, int64_t k, int32_t *out, int64_t threads)
{
    Loop loop = {(const int16_t (*)[256])table, a, b, n, k, out};
    parallel_for(row_task, &loop, m, threads);
}
