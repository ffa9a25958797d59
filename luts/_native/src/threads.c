/* Threads: PyTorch's own OpenMP pool where it can be found, otherwise threads made for the call.
 *
 * A pool of ours would compete with OpenMP's workers, which spin for milliseconds after each of
 * PyTorch's operations. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "native.h"

typedef struct {
    Task task;
    void *context;
    int64_t n;
    atomic_llong next;
} Loop;

typedef void (*OpenMpParallel)(void (*)(void *), void *, unsigned, unsigned);

static void drain(void *data)
{
    Loop *loop = data;
    for (;;) {
        long long index = atomic_fetch_add(&loop->next, 1);
        if (index >= loop->n)
            return;
        loop->task(loop->context, index);
    }
}

static void *drain_thread(void *data)
{
    drain(data);
    return NULL;
}

void parallel_for(Task task, void *context, int64_t n, int64_t threads)
{
    Loop loop = {task, context, n, 0};
    if (threads > n)
        threads = n;
    if (threads <= 1) {
        drain(&loop);
        return;
    }
    union {
        void *object;
        OpenMpParallel function;
    } symbol = {dlsym(RTLD_DEFAULT, "GOMP_parallel")};
    if (symbol.object) {
        symbol.function(drain, &loop, (unsigned)threads, 0);
        return;
    }
    if (threads > 64)
        threads = 64;
    pthread_t made[64];
    int64_t n_made = 0;
    while (n_made < threads - 1 && !pthread_create(&made[n_made], NULL, drain_thread, &loop))
        n_made++;
    drain(&loop);
    while (n_made)
        pthread_join(made[--n_made], NULL);
}

/* Buffers are freed in the reverse of the order they were made in, so that each thread keeps one
 * block to cut them from: memory fresh from the system would cost a page fault every 4 KiB. */
#define KEPT_BYTES (4 << 20)

typedef struct {
    int64_t used;
    char memory[] __attribute__((aligned(64)));
} Stack;

static pthread_key_t stack_key;
static pthread_once_t stack_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    pthread_key_create(&stack_key, free);
}

static void *aligned(int64_t bytes)
{
    void *memory = NULL;
    if (posix_memalign(&memory, 64, (size_t)bytes))
        abort(); /* as the allocator of PyTorch's own threads does; nothing can be unwound here */
    return memory;
}

static Stack *own_stack(void)
{
    pthread_once(&stack_once, make_key);
    Stack *stack = pthread_getspecific(stack_key);
    if (!stack) {
        stack = aligned((int64_t)sizeof(Stack) + KEPT_BYTES);
        stack->used = 0;
        pthread_setspecific(stack_key, stack);
    }
    return stack;
}

void *buffer_new(int64_t bytes)
{
    bytes = (bytes + SLACK + 63) / 64 * 64;
    Stack *stack = own_stack();
    if (stack->used + bytes > KEPT_BYTES)
        return aligned(bytes);
    void *buffer = stack->memory + stack->used;
    stack->used += bytes;
    return buffer;
}

void buffer_free(void *buffer)
{
    Stack *stack = own_stack();
    int64_t offset = (char *)buffer - stack->memory;
    if (offset >= 0 && offset < KEPT_BYTES)
        stack->used = offset;
    else
        free(buffer);
}
