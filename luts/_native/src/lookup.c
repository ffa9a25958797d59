/* Products by table look-up: any table, any shape.
 *
 * The columns of an output block are written out, one line an inner index (runs of an input row
 * where the stride is 1); every row of the first operand then looks the block's lines up in its own rows
 * of the table. Neither inner tails nor blocks cut short cost a look-up that is summed: lines exist
 * for real inner indices only, and columns beyond the block's end are never stored. */
#include <string.h>

#include "native.h"

typedef struct {
    const Lookup *job;
    int64_t blocks, row_parts;
} Plan;

static void write_line(const Lookup *job, const uint8_t *plane, int64_t first, int64_t n,
                       uint8_t *line)
{
    while (n > 0) {
        int64_t i = first / job->out_w, j = first % job->out_w;
        int64_t run = job->out_w - j < n ? job->out_w - j : n;
        const uint8_t *from = plane + i * job->stride_h * job->width + j * job->stride_w;
        if (job->stride_w == 1)
            memcpy(line, from, (size_t)run);
        else
            for (int64_t c = 0; c < run; c++)
                line[c] = from[c * job->stride_w];
        line += run;
        first += run;
        n -= run;
    }
}

static void write_columns(const Lookup *job, int64_t image, int64_t group, int64_t first, int64_t n,
                          uint8_t *columns)
{
    int64_t channels = job->channels / job->groups;
    const uint8_t *planes = job->columns +
                            (image * job->channels + group * channels) * job->height * job->width;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < job->kernel_h; i++)
            for (int64_t j = 0; j < job->kernel_w; j++, columns += LOOKUP_COLUMNS) {
                const uint8_t *plane = planes + (c * job->height + i * job->dilation_h) * job->width +
                                       j * job->dilation_w;
                write_line(job, plane, first, n, columns);
                memset(columns + n, 0, (size_t)(LOOKUP_COLUMNS - n));
            }
}

static void lookup_task(void *context, int64_t index)
{
    const Plan *plan = context;
    const Lookup *job = plan->job;
    int64_t part = index % plan->row_parts, block = index / plan->row_parts % plan->blocks;
    int64_t image = index / plan->row_parts / plan->blocks, pixels = job->out_h * job->out_w;
    int64_t first = block * LOOKUP_COLUMNS, n = pixels - first;
    if (n > LOOKUP_COLUMNS)
        n = LOOKUP_COLUMNS;
    int64_t per_group = job->n_rows / job->groups;
    int64_t per_part = (job->n_rows + plan->row_parts - 1) / plan->row_parts;
    int64_t end = (part + 1) * per_part < job->n_rows ? (part + 1) * per_part : job->n_rows;
    uint8_t *columns = buffer_new(job->inner * LOOKUP_COLUMNS);
    int32_t sums[LOOKUP_COLUMNS] __attribute__((aligned(64)));
    const uint8_t *rows = job->row_codes;
    if (job->rows_vary)
        rows += image * job->n_rows * job->inner;
    int64_t written = -1;
    for (int64_t r = part * per_part; r < end; r++) {
        if (r / per_group != written) {
            written = r / per_group;
            write_columns(job, image, written, first, n, columns);
        }
        kernels()->lookup(job, columns, n, rows + r * job->inner, job->inner, sums);
        memcpy(job->out + (image * job->n_rows + r) * pixels + first, sums,
               (size_t)n * sizeof(int32_t));
    }
    buffer_free(columns);
}

void axdse_lookup(const Lookup *job)
{
    int64_t pixels = job->out_h * job->out_w;
    if (pixels <= 0 || job->n_rows <= 0 || job->batch <= 0)
        return;
    Plan plan = {job, (pixels + LOOKUP_COLUMNS - 1) / LOOKUP_COLUMNS, 1};
    int64_t tasks = job->batch * plan.blocks;
    if (tasks < 2 * job->threads) /* few blocks: share the rows out too */
        plan.row_parts = job->n_rows < 2 * job->threads ? job->n_rows : 2 * job->threads;
    parallel_for(lookup_task, &plan, tasks * plan.row_parts, job->threads);
}
