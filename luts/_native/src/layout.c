/* How the inner dimension of a product lies in memory: in runs of neighbouring bytes. Every run is
 * padded to whole dwords of operands, and to whole words of bits. */
#include "native.h"

int taps_are_neighbours(const ProductJob *job)
{
    return job->groups == 1 && job->dilation_w == 1;
}

int64_t run_bytes(const ProductJob *job)
{
    return taps_are_neighbours(job) ? job->kernel_w * job->channels_padded
                                    : job->channels / job->groups;
}

int64_t runs_of(const ProductJob *job)
{
    return taps_are_neighbours(job) ? job->kernel_h : job->kernel_h * job->kernel_w;
}

int64_t packed_dwords(const ProductJob *job)
{
    return job->terms * runs_of(job) * ceil_div(run_bytes(job), 4);
}

int64_t packed_plane_words(const ProductJob *job)
{
    return job->depth ? runs_of(job) * ceil_div(run_bytes(job), 32) : 0;
}
