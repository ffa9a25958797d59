/* Runs one product that a file describes, in whatever way this processor has, and writes its result.
 *
 * The file: a ProductJob with the addresses that its writer had; the bytes of the result; a number
 * of pieces of memory, each as address, size and content. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../luts/_native/src/native.h"

void axdse_product(const ProductJob *);
const char *axdse_isa(void);

#define MOST_PIECES 16

static struct {
    int64_t address, size;
    char *content;
} pieces[MOST_PIECES];
static int64_t n_pieces;

static void take(void *to, int64_t size, FILE *file)
{
    if (fread(to, 1, (size_t)size, file) != (size_t)size)
        exit(2);
}

static void relocate(void *field)
{
    int64_t address;
    memcpy(&address, field, sizeof address);
    for (int64_t i = 0; i < n_pieces; i++)
        if (address == pieces[i].address)
            memcpy(field, &pieces[i].content, sizeof address);
}

int main(int argc, char **argv)
{
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : 0;
    ProductJob job;
    int64_t out_bytes;
    if (!file)
        return 2;
    take(&job, sizeof job, file);
    take(&out_bytes, sizeof out_bytes, file);
    take(&n_pieces, sizeof n_pieces, file);
    for (int64_t i = 0; i < n_pieces && i < MOST_PIECES; i++) {
        take(&pieces[i].address, 8, file);
        take(&pieces[i].size, 8, file);
        pieces[i].content = malloc((size_t)pieces[i].size + SLACK);
        take(pieces[i].content, pieces[i].size, file);
    }
    fclose(file);
    void *fields[] = {&job.x, &job.u, &job.u_masks, &job.w, &job.w_planes, &job.w_offsets,
                      &job.second, &job.v, &job.v_masks, &job.scale, &job.bias};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        relocate(fields[i]);
    job.out = calloc(1, (size_t)out_bytes + SLACK);
    axdse_product(&job);
    file = fopen(argv[2], "wb");
    if (!file || fwrite(job.out, 1, (size_t)out_bytes, file) != (size_t)out_bytes)
        return 2;
    fclose(file);
    puts(axdse_isa());
    return 0;
}
