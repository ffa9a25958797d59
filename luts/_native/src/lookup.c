/* Products by table look-up: any table, any shape.
 *
 * The columns of an output block are written out, one line per inner index (runs of an input row
 * where the stride is 1); every row of the first operand then looks the block's lines up in its own rows
 * of the table. Neither inner tails nor blocks cut short cost a look-up that is summed: lines exist
 * for real inner indices only, and columns beyond the block's end are never stored. */
#include <string.h>

#include "native.h"

typedef struct {
    const Lookup *job;
    int64_t pixels, per_block;      /* output pixels of an image; images may share a block */
    int64_t blocks, row_parts;
} Plan;

/* memcpy for runs of an output row, of which most have 8 … 64 bytes: a call costs more than they do. */
static inline void copy_run(uint8_t *to, const uint8_t *from, int64_t n)
{
    if (n >= 16) {
        for (int64_t i = 0; i < n - 15; i += 16)
            memcpy(to + i, from + i, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else {
        for (int64_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

/* Codes under one tap for n output pixels from (row, column) on. */
static inline void write_line(const Lookup *job, const uint8_t *plane, int64_t row, int64_t column,
                              int64_t n, uint8_t *line)
{
    const uint8_t *from = plane + row * job->stride_h * job->width;
    while (n > 0) {
        int64_t run = job->out_w - column < n ? job->out_w - column : n;
        if (job->stride_w == 1)
            copy_run(line, from + column, run);
        else
            for (int64_t c = 0; c < run; c++)
                line[c] = from[(column + c) * job->stride_w];
        line += run;
        n -= run;
        column = 0;
        from += job->stride_h * job->width;
    }
}

/* Lines of the pixels first … first + n of one image. */
static void write_image(const Lookup *job, int64_t image, int64_t group, int64_t first, int64_t n,
                        uint8_t *lines)
{
    int64_t channels = job->channels / job->groups;
    const uint8_t *planes = job->columns +
                            (image * job->channels + group * channels) * job->height * job->width;
    const int64_t row = first / job->out_w, column = first % job->out_w;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < job->kernel_h; i++)
            for (int64_t j = 0; j < job->kernel_w; j++, lines += LOOKUP_COLUMNS) {
                const uint8_t *plane = planes + (c * job->height + i * job->dilation_h) * job->width +
                                       j * job->dilation_w;
                write_line(job, plane, row, column, n, lines);
            }
}

typedef struct {
    const Plan *plan;
    int64_t first; /* flat pixel of the block */
    Columns columns;
} Block;

/* Calls for the part of the block that lies in each image: image, first pixel, pixels, offset. */
#define FOR_EACH_IMAGE(block) \
    for (int64_t done = 0, image, pixel, part; \
         image = ((block)->first + done) / (block)->plan->pixels, \
         pixel = ((block)->first + done) % (block)->plan->pixels, \
         part = smaller((block)->plan->pixels - pixel, (block)->columns.n - done), done < (block)->columns.n; \
         done += part)

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Codes to magnitudes and signs, for tables that are odd in their columns. */
static void split_signs(Columns *columns, int64_t inner)
{
    memset(columns->negative, 0, sizeof columns->negative);
    for (int64_t k = 0; k < inner; k++) {
        uint8_t *codes = columns->codes + k * LOOKUP_COLUMNS;
        uint8_t *signs = columns->signs + k * LOOKUP_COLUMNS;
        for (int64_t c = 0; c < LOOKUP_COLUMNS; c++) {
            signs[c] = codes[c] & 0x80 ? 0xff : 0;
            columns->negative[c] += codes[c] >> 7;
            codes[c] = (uint8_t)((codes[c] ^ signs[c]) - signs[c]);
        }
    }
    columns->form = MAGNITUDES;
}

/* Writes the block's codes for one channel group. */
static void write_block(Block *block, int64_t group)
{
    const Lookup *job = block->plan->job;
    Columns *columns = &block->columns;
    FOR_EACH_IMAGE(block)
        write_image(job, image, group, pixel, part, columns->codes + done);
    uint8_t all = 0, lowest = 0;
    for (int64_t k = 0; k < job->inner; k++) {
        uint8_t *line = columns->codes + k * LOOKUP_COLUMNS;
        memset(line + columns->n, 0, (size_t)(LOOKUP_COLUMNS - columns->n));
        for (int64_t c = 0; c < LOOKUP_COLUMNS; c++) {
            all |= line[c];
            lowest |= line[c] == 0x80;
        }
    }
    columns->form = all & 0x80 ? ANY_CODES : LOW_CODES;
    if (columns->form == ANY_CODES && !lowest && job->columns_odd && kernels()->takes_signs)
        split_signs(columns, job->inner);
}

/* Writes n sums of row r, the first of which belongs to column `column`, to out[at]. */
static void store_part(const Lookup *job, const int32_t *sums, int64_t r, int64_t column, int64_t n,
                       int64_t at)
{
    if (!job->scale) {
        memcpy((int32_t *)job->out + at, sums, (size_t)n * sizeof(int32_t));
        return;
    }
    float *out = (float *)job->out + at;
    if (job->scale_by_column) {
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)sums[i] * job->scale[column + i];
        for (int64_t i = 0; job->bias && i < n; i++)
            out[i] += job->bias[column + i];
    } else {
        const float scale = job->scale[r];
        for (int64_t i = 0; i < n; i++)
            out[i] = (float)sums[i] * scale;
        for (int64_t i = 0; job->bias && i < n; i++)
            out[i] += job->bias[r];
    }
}

static void lookup_task(void *context, int64_t index)
{
    const Plan *plan = context;
    const Lookup *job = plan->job;
    int64_t part_of_rows = index % plan->row_parts;
    Block block = {.plan = plan};
    if (job->rows_vary) { /* blocks end with their image */
        int64_t per_image = plan->blocks / job->batch, at = index / plan->row_parts;
        block.first = at / per_image * plan->pixels + at % per_image * plan->per_block;
        block.columns.n = smaller(plan->per_block, plan->pixels - at % per_image * plan->per_block);
    } else {
        block.first = index / plan->row_parts * plan->per_block;
        block.columns.n = smaller(plan->per_block, job->batch * plan->pixels - block.first);
    }
    int64_t per_group = job->n_rows / job->groups;
    int64_t per_part = (job->n_rows + plan->row_parts - 1) / plan->row_parts;
    int64_t end = smaller((part_of_rows + 1) * per_part, job->n_rows);
    block.columns.codes = buffer_new(2 * job->inner * LOOKUP_COLUMNS);
    block.columns.signs = block.columns.codes + job->inner * LOOKUP_COLUMNS;
    int32_t sums[LOOKUP_COLUMNS] __attribute__((aligned(64)));
    const uint8_t *rows = job->row_codes;
    if (job->rows_vary)
        rows += block.first / plan->pixels * job->n_rows * job->inner;
    int64_t written = -1;
    for (int64_t r = part_of_rows * per_part; r < end; r++) {
        if (r / per_group != written) {
            written = r / per_group;
            write_block(&block, written);
        }
        kernels()->lookup(job, &block.columns, rows + r * job->inner, sums);
        FOR_EACH_IMAGE(&block)
            store_part(job, sums + done, r, pixel, part,
                       (image * job->n_rows + r) * plan->pixels + pixel);
    }
    buffer_free(block.columns.codes);
}

void axdse_lookup(const Lookup *job)
{
    int64_t pixels = job->out_h * job->out_w;
    if (pixels <= 0 || job->n_rows <= 0 || job->batch <= 0)
        return;
    Plan plan = {.job = job, .pixels = pixels, .per_block = LOOKUP_COLUMNS, .row_parts = 1};
    int64_t per_image = (pixels + LOOKUP_COLUMNS - 1) / LOOKUP_COLUMNS;
    plan.blocks = job->rows_vary ? job->batch * per_image
                                 : (job->batch * pixels + LOOKUP_COLUMNS - 1) / LOOKUP_COLUMNS;
    if (plan.blocks < 2 * job->threads) /* few blocks: share the rows out too */
        plan.row_parts = smaller(job->n_rows, 2 * job->threads);
    parallel_for(lookup_task, &plan, plan.blocks * plan.row_parts, job->threads);
}

typedef struct {
    const void *x;
    int64_t is_codes, height, width, padding_h, padding_w;
    float scale;
    uint8_t *planes;
} Padding;

static void pad_task(void *context, int64_t index)
{
    const Padding *p = context;
    const int64_t width = p->width + 2 * p->padding_w, above = p->padding_h * width;
    const int64_t first = index * p->height * p->width;
    uint8_t *to = p->planes + index * (p->height + 2 * p->padding_h) * width;
    memset(to, 0, (size_t)above);
    to += above;
    for (int64_t i = 0; i < p->height; i++, to += width) {
        const int64_t from = first + i * p->width;
        memset(to, 0, (size_t)p->padding_w);
        if (p->is_codes)
            memcpy(to + p->padding_w, (const uint8_t *)p->x + from, (size_t)p->width);
        else
            kernels()->quantise((const float *)p->x + from, p->width, p->scale, to + p->padding_w);
        memset(to + p->padding_w + p->width, 0, (size_t)p->padding_w);
    }
    memset(to, 0, (size_t)above);
}

/* Planes of codes with zeros around them, out of neighbouring planes of float32 or of codes. */
void axdse_pad(const void *x, int64_t is_codes, int64_t n, int64_t height, int64_t width,
               int64_t padding_h, int64_t padding_w, double scale, uint8_t *planes, int64_t threads)
{
    Padding padding = {x, is_codes, height, width, padding_h, padding_w, (float)scale, planes};
    parallel_for(pad_task, &padding, n, threads);
}
