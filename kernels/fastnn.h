/* The contract of fastnn's C library: how kernels are called, what callers and kernels keep, and what Python sees.
 *
 * A kernel is an exported function `fastnn_<operation>_<dtype>_<isa>`, found by its name:
 *
 *     void kernel(const int64_t *words);
 *
 * `words` are its arguments, in the order in which the reference kernel (fastnn/kernels/reference) declares them:
 *
 *     for each array its address and, if it has two axes, the two strides, counted in elements (one axis: contiguous);
 *     then each size, in the order in which the axis letters first appear;
 *     then each scalar, a float as the bits of a float64, an integer as itself.
 *
 * An array that may be absent has address 0 then.
 *
 * What the caller keeps (fastnn/plan and fastnn/ops.py check it once, in Python):
 *
 *   Alignment  Arenas begin at multiples of 64 bytes; rows of the user's own data need only the alignment of their numbers.
 *              Kernels use loads and stores that need no more than that.
 *   Padding    Arrays with two axes are contiguous along one, and their rows along it are padded to whole vectors (64, 32
 *              or 16 bytes by the level). Padding may be read and written and holds anything. Arrays that are transposed
 *              in square blocks have room for a whole block behind their last row. Rows of the data `X` are not padded.
 *   Aliasing   Arrays do not overlap, except the two that a declaration names in `in_place`: these may be the same array,
 *              with the same strides.
 *   Values     Indices (row numbers, labels) are within their ranges; sizes are at least 1.
 *
 * What a kernel keeps: it writes what the declaration says and nothing else, padding excepted; no result depends on what
 * padding holds; it does not allocate, print, fail, keep state or change the floating-point environment; NaN passes
 * through. A fused multiply-add is written `fma`, everything else is rounded as it is written: the same bits as Numba's.
 */
#ifndef FASTNN_H
#define FASTNN_H

#include <stdint.h>

/* cdef begins */

/* The number of this contract. It counts up with every change to what is declared here or to the words of a kernel, in
 * fastnn/kernels/native.py too: a library of another number is refused, not called. */
#define FASTNN_CONTRACT 4

/* The level of vector instructions that this CPU has and the library was built with: "avx512", "avx2" or "baseline". */
const char *fastnn_best_isa(void);

/* Whether this CPU has a feature beyond that level which some kernels need, and this process may use it; the name is
 * LLVM's: "avx512bf16" or "amx-bf16", for whose registers the process asks the system. */
int64_t fastnn_has(const char *feature);

/* The address of the exported function of that name, 0 if there is none; `library` is the path of this library. */
int64_t fastnn_address(const char *library, const char *name);

/* The native loop: see run.c. Subnormal numbers count as zeros while it runs. */
void fastnn_run(int64_t *words, const int64_t *kernels, const int64_t *starts, const int64_t *places, int64_t columns,
                const int64_t *table, int64_t passes);

/* Passes made ready: what fastnn_run takes, the workspace they share with others, and where steps one by one have got
 * to. Python (fastnn/plan/prepared.py) and Numba (fastnn/kernels/numba/loop.py) know the members by their order; each
 * takes eight bytes. */
typedef struct {
    int64_t *words;
    const int64_t *kernels, *starts, *places;
    int64_t columns;
    const int64_t *table;
    int64_t *busy;         /* 1 while a pass runs in the workspace */
    int64_t *trainer;      /* its generation, its step count, the bits of its learning rate */
    const double *losses;  /* of the passes, one after the other */
    int64_t next, end;     /* the pass that comes next, and how many there are */
    int64_t generation, step_count, lr; /* the trainer's as the next pass expects them */
} fastnn_passes;

/* Runs passes first .. first + count - 1 and returns 1; 0 if another thread is at work in the workspace: none has run. */
int64_t fastnn_run_some(const fastnn_passes *passes, int64_t first, int64_t count);

/* Runs the next pass, a training step, counts it in the trainer and returns its loss. +infinity says that the caller has
 * to look: the loss is not finite, or nothing was run, as no pass is left, the trainer is not as the pass expects it, or
 * another thread is at work in the workspace. */
double fastnn_next(fastnn_passes *passes);

/* How one call is cut among threads: along an axis that no sum runs along, at multiples of `granule`. Numbers called a
 * place are indices into the words of the call. */
typedef struct {
    int64_t size;      /* place of the length of the axis; -1: the call is not cut */
    int64_t granule;
    int64_t grain;     /* the least work of a part */
    int64_t words;     /* of the call */
    int64_t first;     /* place of a scalar that counts along the axis, -1 if there is none */
    int64_t works;     /* the work is the product of so many sizes */
    int64_t work[4];   /* their places */
    int64_t arrays;    /* those that have the axis: */
    int64_t address[12];  /* place of the address */
    int64_t stride[12];   /* place of the stride along the axis, -1 where it is 1 */
    int64_t bytes[12];    /* of a number */
} fastnn_cut;

/* A plan for several threads; arrays as in fastnn_run. */
typedef struct {
    int64_t *words;            /* (threads, words_of_member): each thread has a workspace of its own */
    int64_t words_of_member;
    const int64_t *kernels, *starts, *places;
    int64_t columns;
    const fastnn_cut *cuts;    /* (Q,) */
    int64_t threads;
} fastnn_plan;

/* Runs passes in waves, one after the other. Wave w is the chains waves[w] .. waves[w + 1] - 1, which do not depend on each
 * other; chain c is the passes chains[c] .. chains[c + 1] - 1 of the table, in order. The bits do not depend on `threads`. */
void fastnn_run_threads(const fastnn_plan *plan, const int64_t *table, const int64_t *waves, int64_t wave_count,
                        const int64_t *chains);

/* The thread pool: see pool.h. */
void fastnn_pool_stop(void);
int64_t fastnn_pool_workers(void);
int64_t fastnn_pool_busy(void);

/* One kernel, by address, on its words. */
void fastnn_call(int64_t kernel, const int64_t *words);

/* cdef ends */

/* Whether the compiler and the system know the matrix unit of x86, AMX. setup.py says FASTNN_WITHOUT_AMX where the
 * assembler does not. */
#if defined(__x86_64__) && defined(__linux__) && !defined(FASTNN_WITHOUT_AMX) && \
    ((defined(__clang__) && __clang_major__ >= 12) || (!defined(__clang__) && __GNUC__ >= 11))
#define FASTNN_KNOWS_AMX 1
#endif

#endif
