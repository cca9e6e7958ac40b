/* A program around the C kernels, so that they can be run where Python cannot go: under sanitizers, made by another
 * compiler, on another CPU. tests/c_program.py builds it and talks to it.
 *
 * It says which level of vector instructions it has, then answers requests on standard input until that ends: memory
 * blocks with what they hold, kernels by name, their words, in which the addresses of blocks are still to be entered.
 * The answer is what the blocks hold afterwards.
 *
 * Every block is an allocation of its own that ends where the contract of fastnn.h ends; between the rows of a matrix
 * there is forbidden ground. AddressSanitizer then sees every access beyond; without it, a page that cannot be accessed
 * lies behind each block, and the reader of the answer finds what was written between rows.
 */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fastnn.h"

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#ifdef HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

enum { NAME_BYTES = 64 };

/* Memory that kernels work on: `lead` forbidden bytes, then rows of `row_bytes`, one every `stride` bytes. */
typedef struct {
    int64_t lead, rows, row_bytes, stride;
    size_t bytes;
    char *memory;
    void *mapping; /* what `memory` is the end of; without AddressSanitizer */
    size_t mapped;
} Block;

/* What is asked for: fields, in this order, then the arrays that they count. Where `threads` is not 0, the words are those
 * of several workspaces, waves and chains count their ends too, and every call has its cut: see fastnn_run_threads. */
typedef struct {
    int64_t blocks, calls, words, columns, passes, relocations, threads, words_of_member, waves, chains;
} Request;

static void fail(const char *reason)
{
    fprintf(stderr, "kernel_server: %s\n", reason);
    exit(3);
}

/* `count` things of `size` bytes from standard input, as an allocation without a byte to spare. */
static void *read_new(int64_t count, size_t size)
{
    const size_t bytes = (size_t)count * size;
    void *memory = malloc(bytes);
    if ((!memory && bytes) || fread(memory, 1, bytes, stdin) != bytes) {
        fail("the request ends too early");
    }
    return memory;
}

#ifdef HAS_ASAN
static void allocate(Block *block)
{
    block->memory = malloc(block->bytes);
}

static void release(Block *block)
{
    free(block->memory);
}

/* Forbids, or allows again, what lies before the first row and between rows. */
static void guard(const Block *block, int forbidden)
{
    if (!forbidden) {
        __asan_unpoison_memory_region(block->memory, block->bytes);
        return;
    }
    __asan_poison_memory_region(block->memory, (size_t)block->lead);
    for (int64_t row = 0; row + 1 < block->rows; row++) {
        const char *end = block->memory + block->lead + row * block->stride + block->row_bytes;
        __asan_poison_memory_region(end, (size_t)(block->stride - block->row_bytes));
    }
}
#else
static void allocate(Block *block)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (block->bytes + page - 1) / page * page;
    block->mapped = whole + page;
    block->mapping = mmap(NULL, block->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block->mapping == MAP_FAILED || mprotect((char *)block->mapping + whole, page, PROT_NONE)) {
        fail("no memory");
    }
    block->memory = (char *)block->mapping + whole - block->bytes;
}

static void release(Block *block)
{
    munmap(block->mapping, block->mapped);
}

static void guard(const Block *block, int forbidden)
{
    (void)block, (void)forbidden;
}
#endif

static void read_block(Block *block)
{
    if (fread(block, sizeof(int64_t), 4, stdin) != 4) {
        fail("the request ends too early");
    }
    block->bytes = (size_t)(block->lead + (block->rows - 1) * block->stride + block->row_bytes);
    allocate(block);
    if (fread(block->memory, 1, block->bytes, stdin) != block->bytes) {
        fail("the request ends too early");
    }
}

/* Runs the passes, on several threads or not; no passes means that each kernel is called once, by itself. */
static void run(const Request *r, const fastnn_plan *plan, const int64_t *table, const int64_t *waves, const int64_t *chains)
{
    if (r->threads > 0) {
        fastnn_run_threads(plan, table, waves, r->waves - 1, chains);
    } else if (r->passes > 0) {
        fastnn_run(plan->words, plan->kernels, plan->starts, plan->places, plan->columns, table, r->passes);
    } else {
        for (int64_t call = 0; call < r->calls; call++) {
            fastnn_call(plan->kernels[call], plan->words + plan->starts[call]);
        }
    }
}

static void answer(const Request *r)
{
    char *names = read_new(r->calls, NAME_BYTES);
    int64_t *starts = read_new(r->calls, sizeof(int64_t)), *words = read_new(r->words, sizeof(int64_t));
    int64_t *places = read_new(r->columns, sizeof(int64_t));
    int64_t *table = read_new(r->passes * (2 + r->columns), sizeof(int64_t));
    int64_t(*relocations)[3] = read_new(r->relocations, sizeof *relocations);
    fastnn_cut *cuts = read_new(r->threads > 0 ? r->calls : 0, sizeof *cuts);
    int64_t *waves = read_new(r->waves, sizeof(int64_t)), *chains = read_new(r->chains, sizeof(int64_t));
    Block *blocks = calloc((size_t)r->blocks, sizeof(Block));
    int64_t *kernels = calloc((size_t)r->calls, sizeof(int64_t));
    for (int64_t i = 0; i < r->blocks; i++) {
        read_block(&blocks[i]);
        guard(&blocks[i], 1);
    }
    for (int64_t i = 0; i < r->calls; i++) {
        kernels[i] = fastnn_address(NULL, names + i * NAME_BYTES);
        if (!kernels[i]) {
            fail(names + i * NAME_BYTES);
        }
    }
    for (int64_t i = 0; i < r->relocations; i++) { /* where: in the words, then in the table; which block; where in it */
        const int64_t where = relocations[i][0];
        int64_t *word = where < r->words ? words + where : table + (where - r->words);
        *word = (int64_t)(uintptr_t)blocks[relocations[i][1]].memory + relocations[i][2];
    }
    const fastnn_plan plan = {
        .words = words, .words_of_member = r->words_of_member, .kernels = kernels, .starts = starts, .places = places,
        .columns = r->columns, .cuts = cuts, .threads = r->threads,
    };
    run(r, &plan, table, waves, chains);
    for (int64_t i = 0; i < r->blocks; i++) {
        guard(&blocks[i], 0);
        fwrite(blocks[i].memory, 1, blocks[i].bytes, stdout);
        release(&blocks[i]);
    }
    fflush(stdout);
    free(names), free(starts), free(words), free(places), free(table), free(relocations), free(cuts), free(waves);
    free(chains), free(blocks), free(kernels);
}

int main(void)
{
    printf("%s\n", fastnn_best_isa());
    fflush(stdout);
    Request request;
    while (fread(&request, sizeof request, 1, stdin) == 1) {
        answer(&request);
    }
    fastnn_pool_stop();
    return 0;
}
