/* ARM: the dot product of four signed bytes (ARMv8.2 and later). All else is portable. */
#include "native.h"

#ifdef AXDSE_NEON
#if !defined(__ARM_FEATURE_DOTPROD)
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#include <arm_neon.h>
#include <pthread.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#define VECTORS (LANES / 4)
#define INLINE static inline __attribute__((always_inline))

static void quantise(const float *x, int64_t n, float scale, uint8_t *codes)
{
    const float32x4_t s = vdupq_n_f32(scale);
    const float32x4_t top = vdupq_n_f32(127.0f), bottom = vdupq_n_f32(-127.0f);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int16x4_t half[2];
        for (int h = 0; h < 2; h++) {
            /* Half to even; a NaN stays one and becomes 0. */
            float32x4_t q = vdivq_f32(vld1q_f32(x + i + 4 * h), s);
            half[h] = vmovn_s32(vcvtnq_s32_f32(vminq_f32(vmaxq_f32(q, bottom), top)));
        }
        vst1_u8(codes + i, vreinterpret_u8_s8(vmovn_s16(vcombine_s16(half[0], half[1]))));
    }
    if (i < n)
        kernels_portable.quantise(x + i, n - i, scale, codes + i);
}

static void mask_codes(const uint8_t *codes, int64_t n, uint8_t mask, uint8_t flip, uint8_t *out)
{
    const uint8x16_t m = vdupq_n_u8(mask), f = vdupq_n_u8(flip);
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        vst1q_u8(out + i, veorq_u8(vandq_u8(vld1q_u8(codes + i), m), f));
    if (i < n)
        kernels_portable.mask(codes + i, n - i, mask, flip, out + i);
}

/* With the 128 taken off the first operand again, the sums begin at 0 and not at `init`. */
INLINE void tile_of(const Tile *tile, const int first, const int rows, const int panel)
{
    const int8x16_t offset = vdupq_n_s8(-128);
    int32x4_t sums[6][VECTORS];
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < VECTORS; n++)
            sums[m][n] = vdupq_n_s32(0);
    const int8_t *w = tile->w + panel * tile->panel_bytes;
    for (int64_t s = 0; s < tile->n_segments; s++)
        for (int64_t i = 0; i < tile->dwords; i++, w += 4 * LANES) {
            int8x16_t second[VECTORS];
            for (int n = 0; n < VECTORS; n++)
                second[n] = vld1q_s8(w + 16 * n);
            for (int m = 0; m < rows; m++) {
                int32_t four;
                __builtin_memcpy(&four, tile->x + tile->rows[first + m] + tile->segments[s] + 4 * i,
                                 4);
                int8x16_t x = veorq_s8(vreinterpretq_s8_s32(vdupq_n_s32(four)), offset);
                for (int n = 0; n < VECTORS; n++)
                    sums[m][n] = vdotq_s32(sums[m][n], second[n], x);
            }
        }
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < VECTORS; n++)
            vst1q_s32(tile->sums + ((first + m) * MAX_PANELS + panel) * LANES + 4 * n, sums[m][n]);
}

static void tile(const Tile *tile, int rows, int panels)
{
    for (int panel = 0; panel < panels; panel++)
        for (int m = 0; m < rows;) {
            if (rows - m >= 6) {
                tile_of(tile, m, 6, panel);
                m += 6;
            } else if (rows - m >= 3) {
                tile_of(tile, m, 3, panel);
                m += 3;
            } else {
                tile_of(tile, m, 1, panel);
                m += 1;
            }
        }
}

static int is_there(void)
{
#if defined(__linux__)
    enum { HAS_DOT_PRODUCT = 1 << 20 };
    return (getauxval(AT_HWCAP) & HAS_DOT_PRODUCT) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
    return 1;
#else
    return 0;
#endif
}

static Kernels neon;

static void make(void)
{
    neon = kernels_portable;
    neon.name = "neon";
    neon.quantise = quantise;
    neon.mask = mask_codes;
    neon.tile = tile;
}

const Kernels *kernels_neon(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make);
    return is_there() ? &neon : 0;
}
#endif
