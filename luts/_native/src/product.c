/* A product as a convolution without unfolding.
 *
 * The first operand is quantised, image by image, into a padded block of codes with the channels
 * innermost. One output pixel's operands are then a few runs of that block: kernel_h runs of
 * kernel_w·channels bytes, or one run per tap where taps are not neighbours. The tiles read the runs
 * where they lie. Padding is made of real zero codes: the circuit multiplies them like any other
 * operand, as the hardware would.
 */
#include <string.h>

#include "native.h"

#define BLOCK_BYTES (192 * 1024) /* codes of one unit: a share of the second-level cache */
#define BLOCK_PIXELS 48          /* output pixels that one pass over the weights should serve */
#define EVEN_BYTES (1792 * 1024) /* operands of one unit whose tiles' rows are of so many images */
#define EVEN_PIXELS 256

typedef struct {
    const ProductJob *job;
    const Kernels *kernels;
    int64_t images, bands;              /* per unit; bands split one image */
    int64_t rows, padded_rows, padded_w;
    int64_t run, n_spatial;             /* bytes of one run, runs of one term */
    int64_t batch;
    int64_t image_bytes;                /* from one image's codes to the next one's */
    int by_image;                       /* the rows of a tile are one pixel of several images */
} Plan;

static int64_t round_up(int64_t a, int64_t step)
{
    return step > 1 ? ceil_div(a, step) * step : a;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Makes units of images whose same pixels are the rows of a tile, where rows of the image are no
 * whole number of tiles; 0 where they do not fit. */
static int plan_by_image(Plan *plan, int64_t image_bytes, int64_t share)
{
    const ProductJob *job = plan->job;
    int64_t side = plan->kernels->even_rows, pixels = job->out_h * job->out_w;
    if (!side || pixels == 1 || job->out_w % side == 0 || share < side)
        return 0;
    image_bytes = ceil_div(image_bytes, 64) * 64;
    image_bytes += image_bytes / 64 % 2 ? 0 : 64; /* an even distance would use few cache sets */
    int64_t most = EVEN_BYTES / (image_bytes * job->terms), wanted = EVEN_PIXELS / pixels;
    if (most < side)
        return 0;
    plan->images = min64(min64(wanted > side ? wanted : side, most), share) / side * side;
    plan->image_bytes = image_bytes;
    plan->by_image = 1;
    return 1;
}

/* Makes units of whole images that fit the caches; 0 where one does not fit. */
static int plan_whole_images(Plan *plan, int64_t image_bytes, int64_t share)
{
    const ProductJob *job = plan->job;
    int64_t pixels = job->out_h * job->out_w;
    if (image_bytes > BLOCK_BYTES / 2 || pixels >= BLOCK_PIXELS)
        return 0;
    plan->images = min64(ceil_div(4 * BLOCK_PIXELS, pixels), BLOCK_BYTES / (image_bytes + 1));
    plan->images = min64(plan->images > 0 ? plan->images : 1, share > 0 ? share : 1);
    int64_t units = round_up(ceil_div(plan->batch, plan->images), job->threads);
    plan->images = ceil_div(plan->batch, units > 0 ? units : 1);
    return 1;
}

/* Makes units of bands of an image's rows. */
static void plan_bands(Plan *plan, int64_t image_bytes)
{
    const ProductJob *job = plan->job;
    int64_t wanted = ceil_div(image_bytes, BLOCK_BYTES);
    if (plan->batch < job->threads)
        wanted = round_up(wanted, job->threads);
    plan->bands = min64(wanted, job->out_h);
}

static Plan plan_of(const ProductJob *job)
{
    Plan plan = {.job = job, .kernels = kernels(), .images = 1, .bands = 1};
    plan.batch = job->outer * job->inner;
    plan.padded_w = job->width + 2 * job->padding_w;
    plan.run = run_bytes(job);
    plan.n_spatial = runs_of(job);
    int64_t row_bytes = plan.padded_w * job->channels_padded;
    int64_t image_bytes = (job->height + 2 * job->padding_h) * row_bytes;
    int64_t share = ceil_div(plan.batch, job->threads > 0 ? job->threads : 1);
    if (!plan_by_image(&plan, image_bytes, share) &&
        !plan_whole_images(&plan, image_bytes, share))
        plan_bands(&plan, image_bytes);
    plan.rows = ceil_div(job->out_h, plan.bands);
    if (job->out_w == 1) /* whole tiles */
        plan.rows = min64(round_up(plan.rows, plan.kernels->rows[0]), job->out_h);
    plan.bands = ceil_div(job->out_h, plan.rows);
    plan.padded_rows = (plan.rows - 1) * job->stride_h + (job->kernel_h - 1) * job->dilation_h + 1;
    if (!plan.by_image)
        plan.image_bytes = plan.padded_rows * row_bytes;
    return plan;
}

/* Pixels of a row, written one after the other, onto their places, from the last to the first. */
static void spread(uint8_t *row, int64_t width, int64_t channels, int64_t padded)
{
    for (int64_t p = width - 1; p >= 0; p--) {
        memmove(row + p * padded, row + p * channels, (size_t)channels);
        memset(row + p * padded + channels, 0, (size_t)(padded - channels));
    }
}

static void read_piece(const ProductJob *job, const Kernels *kernels, int64_t from, int64_t length,
                       uint8_t *codes)
{
    if (job->x_is_codes)
        memcpy(codes, (const uint8_t *)job->x + from, (size_t)length);
    else
        kernels->quantise((const float *)job->x + from, length, (float)job->x_scale, codes);
}

/* Codes of the input rows under output rows first … first + rows of one image. */
static void read_image(const Plan *plan, int64_t image, int64_t first, uint8_t *codes)
{
    const ProductJob *job = plan->job;
    int64_t row_bytes = plan->padded_w * job->channels_padded;
    int64_t at = (image / job->inner) * job->x_outer + (image % job->inner) * job->x_inner;
    int dense = job->x_column == job->channels;
    int64_t pieces = dense ? 1 : job->width, length = dense ? job->width * job->channels
                                                            : job->channels;
    if (dense && row_bytes == length && job->x_row == length && !job->padding_h) {
        int64_t from = first * job->stride_h, rows = min64(plan->padded_rows, job->height - from);
        read_piece(job, plan->kernels, at + from * length, rows * length, codes);
        memset(codes + rows * length, 0, (size_t)((plan->padded_rows - rows) * length));
        return;
    }
    for (int64_t r = 0; r < plan->padded_rows; r++) {
        int64_t row = first * job->stride_h + r - job->padding_h;
        uint8_t *to = codes + r * row_bytes;
        if (row < 0 || row >= job->height) {
            memset(to, 0, (size_t)row_bytes);
            continue;
        }
        memset(to, 0, (size_t)(job->padding_w * job->channels_padded));
        to += job->padding_w * job->channels_padded;
        for (int64_t p = 0; p < pieces; p++) {
            int64_t from = at + row * job->x_row + p * job->x_column;
            read_piece(job, plan->kernels, from, length, to + p * job->channels);
        }
        if (job->channels != job->channels_padded)
            spread(to, job->width, job->channels, job->channels_padded);
        to += job->width * job->channels_padded;
        memset(to, 0, (size_t)(job->padding_w * job->channels_padded));
    }
}

/* The codes lie in the last term's block and are replaced by what is multiplied there. */
static void apply_terms(const Plan *plan, int64_t bytes, uint8_t *blocks)
{
    const ProductJob *job = plan->job;
    const uint8_t *codes = blocks + (job->terms - 1) * bytes;
    for (int64_t t = 0; t < job->terms; t++) {
        uint8_t *to = blocks + t * bytes;
        if (job->u_masks)
            plan->kernels->mask(codes, bytes, job->u_masks[t], 0x80, to);
        else
            plan->kernels->map(codes, bytes, job->u + 256 * t, to);
    }
}

static void list_runs(const Plan *plan, int64_t block_bytes, int32_t *runs)
{
    const ProductJob *job = plan->job;
    int neighbours = taps_are_neighbours(job);
    for (int64_t t = 0; t < job->terms; t++)
        for (int64_t i = 0; i < job->kernel_h; i++)
            for (int64_t j = 0; j < (neighbours ? 1 : job->kernel_w); j++)
                *runs++ = (int32_t)(t * block_bytes +
                                    (i * job->dilation_h * plan->padded_w + j * job->dilation_w) *
                                        job->channels_padded);
}

/* Where each output pixel's operands begin, and where its results go. */
static void list_pixels(const Plan *plan, int64_t image, int64_t images, int64_t first,
                        int64_t rows, int32_t *pixels, int64_t *outputs)
{
    const ProductJob *job = plan->job;
    int64_t of_image = rows * job->out_w;
    /* Either pixel after pixel of an image, or image after image of a pixel. */
    int64_t step = plan->by_image ? images : 1, image_step = plan->by_image ? 1 : of_image;
    for (int64_t b = 0; b < images; b++) {
        int64_t to = (image + b) / job->inner * job->out_outer +
                     (image + b) % job->inner * job->out_inner +
                     first * job->out_w * job->out_pixel;
        int64_t at = b * image_step;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < job->out_w; j++, at += step, to += job->out_pixel) {
                pixels[at] = (int32_t)(b * plan->image_bytes +
                                       (i * job->stride_h * plan->padded_w + j * job->stride_w) *
                                           job->channels_padded);
                outputs[at] = to;
            }
    }
}

static void store_rows(const Plan *plan, const Tile *tile, int rows, const int64_t *outputs,
                       int64_t column, int64_t n)
{
    const ProductJob *job = plan->job;
    if (job->codes || job->added) {
        plan->kernels->emit(job, tile->sums, rows, n, column, outputs);
        return;
    }
    if (!job->out_is_sums) {
        plan->kernels->store(tile->sums, rows, n, job->scale + column,
                             job->bias ? job->bias + column : 0, outputs,
                             (float *)job->out + column);
        return;
    }
    for (int m = 0; m < rows; m++)
        memcpy((int32_t *)job->out + outputs[m] + column, tile->sums + m * MAX_PANELS * LANES,
               (size_t)n * sizeof(int32_t));
}

/* What a tile's results meet in memory is fetched while they are computed. */
static void fetch_outputs(const ProductJob *job, int rows, const int64_t *outputs, int64_t column,
                          int64_t n)
{
    const float *out = job->out, *added = job->added;
    for (int m = 0; m < rows; m++)
        for (int64_t i = column; i < column + n; i += LANES) {
            if (out)
                __builtin_prefetch(out + outputs[m] + i, 1);
            if (added)
                __builtin_prefetch(added + outputs[m] + i);
        }
}

static void run_tiles(const Plan *plan, Tile *tile, int64_t n_pixels, const int32_t *pixels,
                      const int64_t *outputs)
{
    const ProductJob *job = plan->job;
    int64_t panels = ceil_div(job->columns, LANES);
    const uint8_t *x = tile->x, *planes = tile->planes;
    for (int64_t g = 0; g < job->groups; g++) {
        tile->x = x + g * (job->channels / job->groups);
        tile->planes = planes + g * (job->channels / job->groups) / 8;
        for (int64_t p = 0; p < panels;) {
            int wide = (int)min64(panels - p, plan->kernels->panels);
            int tall = plan->kernels->rows[wide - 1];
            tile->w = job->w + (g * panels + p) * tile->panel_bytes;
            tile->w_planes = job->w_planes + (g * panels + p) * tile->panel_words;
            tile->init = job->w_offsets + (g * panels + p) * LANES;
            int64_t column = p * LANES, n = min64(job->columns - column, wide * LANES);
            for (int64_t m = 0; m < n_pixels; m += tall) {
                int rows = (int)min64(n_pixels - m, tall);
                tile->rows = pixels + m;
                fetch_outputs(job, rows, outputs + m, g * job->columns + column, n);
                plan->kernels->tile(tile, rows, wide);
                if (job->depth)
                    plan->kernels->correct(tile, rows, wide);
                store_rows(plan, tile, rows, outputs + m, g * job->columns + column, n);
            }
            p += wide;
        }
    }
}

static void run_unit(const Plan *plan, int64_t image, int64_t images, int64_t first, int64_t rows)
{
    const ProductJob *job = plan->job;
    int64_t image_bytes = plan->image_bytes;
    int64_t block = (images * image_bytes + 63) / 64 * 64, plane = block / 8;
    int64_t n_pixels = images * rows * job->out_w;
    uint8_t *blocks = buffer_new(block * job->terms + plane * job->depth + 64);
    uint8_t *codes = blocks + block * (job->terms - 1), *planes = blocks + block * job->terms;
    int32_t *pixels = buffer_new((n_pixels + MAX_ROWS) * (int64_t)sizeof(int32_t));
    int64_t *outputs = buffer_new(n_pixels * (int64_t)sizeof(int64_t));
    int32_t *runs = buffer_new(job->terms * plan->n_spatial * (int64_t)sizeof(int32_t));
    int32_t sums[MAX_ROWS * MAX_PANELS * LANES] __attribute__((aligned(64)));

    for (int64_t b = 0; b < images; b++)
        read_image(plan, image + b, first, codes + b * image_bytes);
    memset(codes + images * image_bytes, 0, (size_t)(block - images * image_bytes));
    for (int64_t d = 0; d < job->depth; d++)
        plan->kernels->planes(codes, block, (int)(job->first_plane + d), planes + d * plane);
    apply_terms(plan, block, blocks);
    list_runs(plan, block, runs);
    list_pixels(plan, image, images, first, rows, pixels, outputs);
    for (int i = 0; i < MAX_ROWS; i++)
        pixels[n_pixels + i] = pixels[n_pixels - 1];

    Tile tile = {.x = blocks, .planes = planes, .plane_bytes = plane, .segments = runs,
                 .n_segments = job->terms * plan->n_spatial, .n_spatial = plan->n_spatial,
                 .dwords = ceil_div(plan->run, 4), .plane_words = ceil_div(plan->run, 32),
                 .panel_bytes = packed_dwords(job) * 4 * LANES,
                 .panel_words = packed_plane_words(job) * job->depth * LANES,
                 .depth = job->depth, .shift = job->shift, .sums = sums};
    if (plan->kernels->begin)
        plan->kernels->begin(tile.dwords);
    run_tiles(plan, &tile, n_pixels, pixels, outputs);
    if (plan->kernels->end)
        plan->kernels->end();
    buffer_free(runs);
    buffer_free(outputs);
    buffer_free(pixels);
    buffer_free(blocks);
}

static void layer_task(void *context, int64_t index)
{
    const Plan *plan = context;
    int64_t image = index / plan->bands * plan->images, first = index % plan->bands * plan->rows;
    run_unit(plan, image, min64(plan->images, plan->batch - image), first,
             min64(plan->rows, plan->job->out_h - first));
}

/* Quantises and packs the second operand of one batch, then multiplies. */
static void batch_task(void *context, int64_t index)
{
    Plan plan = *(const Plan *)context;
    ProductJob job = *plan.job;
    int64_t k = job.channels, n = job.columns, panels = ceil_div(n, LANES);
    int64_t from = (index / job.inner) * job.second_outer + (index % job.inner) * job.second_inner;
    int along_k = job.second_k == 1; /* rows of codes run along k, or along n */
    int64_t rows = along_k ? n : k, length = along_k ? k : n;
    int64_t stride = along_k ? job.second_n : job.second_k;
    uint8_t *codes = buffer_new(k * n);
    for (int64_t r = 0; r < rows; r++) {
        if (job.second_is_codes)
            memcpy(codes + r * length, (const uint8_t *)job.second + from + r * stride,
                   (size_t)length);
        else
            plan.kernels->quantise((const float *)job.second + from + r * stride, length,
                                   (float)job.second_scale, codes + r * length);
    }
    int8_t *w = buffer_new(panels * packed_dwords(&job) * 4 * LANES);
    uint32_t *planes = buffer_new(panels * packed_plane_words(&job) * job.depth * LANES * 4);
    int32_t *offsets = buffer_new(panels * LANES * 4);
    pack_second(&job, codes, along_k, w, planes, offsets);
    job.w = w;
    job.w_planes = planes;
    job.w_offsets = offsets;
    plan.job = &job;
    for (int64_t first = 0; first < job.out_h; first += plan.rows)
        run_unit(&plan, index, 1, first, min64(plan.rows, job.out_h - first));
    buffer_free(offsets);
    buffer_free(planes);
    buffer_free(w);
    buffer_free(codes);
}

void axdse_product(const ProductJob *job)
{
    if (job->outer * job->inner * job->out_h * job->out_w * job->columns == 0)
        return;
    Plan plan = plan_of(job);
    if (job->second) {
        parallel_for(batch_task, &plan, plan.batch, job->threads);
        return;
    }
    int64_t units = ceil_div(plan.batch, plan.images) * plan.bands;
    parallel_for(layer_task, &plan, units, job->threads);
}
