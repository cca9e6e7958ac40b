/* The native loop: many passes over a plan in one call, no Python in between, the GIL released.
 *
 * A pass runs the operations [first, last) of a plan. What differs from pass to pass (the rows of the batch, where the
 * loss goes, the step size) is a column of `table`: before a pass each of its numbers is copied into the words of the
 * operations.
 *
 * Threads share the work in one of two ways, neither of which changes a bit:
 *
 *   - Passes that do not depend on each other, such as the tiles of a full batch, form chains of a wave. Each chain is run
 *     by one thread, in words and a workspace of that thread's own.
 *   - Where a wave has one chain only, every call that is large enough is cut along an axis of its operation: each thread
 *     runs the kernel on a part of the arrays. No sum runs along such an axis.
 *
 * While passes run, subnormal numbers count as zeros. Where a network has learnt its data, gradients and moments die away
 * through the subnormal range, and some CPUs (Intel's) need microcode for every instruction that meets one: 10-46-46-10 at
 * batch 128 took 20 us a step at first and 400 after 16,000 steps. */
#include "fastnn.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "floating.h"
#include "pool.h"

typedef void (*Kernel)(const int64_t *words);

static Kernel kernel_at(int64_t address)
{
    return (Kernel)(uintptr_t)address;
}

void fastnn_call(int64_t kernel, const int64_t *words)
{
    kernel_at(kernel)(words);
}

static void set_columns(int64_t *words, const int64_t *places, int64_t columns, const int64_t *row)
{
    for (int64_t column = 0; column < columns; column++) {
        words[places[column]] = row[2 + column];
    }
}

/* words    (W,)  read and written: the arguments of all operations, one after the other
 * kernels  (Q,)  the address of each operation's kernel
 * starts   (Q,)  where its words begin
 * places   (columns,)             which word each column goes to
 * table    (passes, 2 + columns)  first, last, then the columns */
static void run_passes(int64_t *words, const int64_t *kernels, const int64_t *starts, const int64_t *places,
                       int64_t columns, const int64_t *table, int64_t passes)
{
    for (const int64_t *row = table; passes > 0; passes--, row += 2 + columns) {
        set_columns(words, places, columns, row);
        for (int64_t q = row[0]; q < row[1]; q++) {
            kernel_at(kernels[q])(words + starts[q]);
        }
    }
}

void fastnn_run(int64_t *words, const int64_t *kernels, const int64_t *starts, const int64_t *places, int64_t columns,
                const int64_t *table, int64_t passes)
{
    const uint64_t mode = floating_mode();
    set_floating_mode(flushing(mode));
    run_passes(words, kernels, starts, places, columns, table, passes);
    set_floating_mode(mode);
}

/* Passes made ready. */

/* The workspace serves one thread at a time. Nobody waits here: the caller is Python, which can sleep meanwhile. */
static int acquire(int64_t *busy)
{
    return __atomic_exchange_n(busy, 1, __ATOMIC_ACQUIRE) == 0;
}

static void release(int64_t *busy)
{
    __atomic_store_n(busy, 0, __ATOMIC_RELEASE);
}

static void run_some(const fastnn_passes *passes, int64_t first, int64_t count)
{
    fastnn_run(passes->words, passes->kernels, passes->starts, passes->places, passes->columns,
               passes->table + first * (2 + passes->columns), count);
}

int64_t fastnn_run_some(const fastnn_passes *passes, int64_t first, int64_t count)
{
    if (!acquire(passes->busy)) {
        return 0;
    }
    run_some(passes, first, count);
    release(passes->busy);
    return 1;
}

enum { GENERATION, STEP_COUNT, LR }; /* cells of a trainer */

double fastnn_next(fastnn_passes *passes)
{
    int64_t *trainer = passes->trainer;
    double loss = INFINITY;
    if (!acquire(passes->busy)) {
        return loss;
    }
    if (passes->next < passes->end && trainer[GENERATION] == passes->generation &&
        trainer[STEP_COUNT] == passes->step_count && trainer[LR] == passes->lr) {
        run_some(passes, passes->next, 1);
        loss = passes->losses[passes->next++];
        passes->step_count++;
        trainer[STEP_COUNT]++;
    }
    release(passes->busy);
    return isfinite(loss) ? loss : INFINITY;
}

/* One call among several threads. */

enum { MOST_WORDS = 96 }; /* of one call; the Python side checks it */

typedef struct {
    const fastnn_cut *cut;
    const int64_t *words;
    int64_t kernel, parts;
} CutCall;

/* Where part number `part` of `parts` of an axis begins: borders are multiples of the granule. */
static int64_t border(int64_t size, int64_t granule, int64_t part, int64_t parts)
{
    const int64_t granules = (size + granule - 1) / granule;
    const int64_t start = granules * part / parts * granule;
    return start < size ? start : size;
}

static void run_part(void *context, int64_t part)
{
    const CutCall *call = context;
    const fastnn_cut *cut = call->cut;
    const int64_t size = call->words[cut->size];
    const int64_t start = border(size, cut->granule, part, call->parts);
    const int64_t end = border(size, cut->granule, part + 1, call->parts);
    if (start == end) {
        return;
    }
    int64_t own[MOST_WORDS];
    memcpy(own, call->words, (size_t)cut->words * sizeof(int64_t));
    own[cut->size] = end - start;
    for (int64_t i = 0; i < cut->arrays; i++) {
        const int64_t stride = cut->stride[i] < 0 ? 1 : own[cut->stride[i]];
        if (own[cut->address[i]]) { /* an optional array may be absent */
            own[cut->address[i]] += start * stride * cut->bytes[i];
        }
    }
    if (cut->first >= 0) {
        own[cut->first] += start;
    }
    kernel_at(call->kernel)(own);
}

/* How many parts are worth their while: each does at least `grain` of the work, the product of some sizes, and is at least
 * two granules wide. */
static int64_t parts_of(const fastnn_cut *cut, const int64_t *words, int64_t members)
{
    if (cut->size < 0) {
        return 1;
    }
    int64_t work = 1;
    for (int64_t i = 0; i < cut->works; i++) {
        work *= words[cut->work[i]];
    }
    const int64_t worth = work / cut->grain;
    /* Two granules at least: a kernel that has another form for few rows of the batch must not meet such a part of more. */
    const int64_t wide = (words[cut->size] + cut->granule - 1) / cut->granule / 2;
    const int64_t parts = worth < wide ? worth : wide;
    return parts < 1 ? 1 : parts < members ? parts : members;
}

/* Chains among several threads. */

typedef struct {
    const fastnn_plan *plan;
    const int64_t *table, *chains; /* chains: the pass with which each begins, and the end of the last */
    int64_t count;
    _Atomic int64_t next;
} Wave;

static void run_chains(void *context, int64_t member)
{
    Wave *wave = context;
    const fastnn_plan *plan = wave->plan;
    int64_t *words = plan->words + member * plan->words_of_member;
    for (;;) {
        const int64_t chain = atomic_fetch_add_explicit(&wave->next, 1, memory_order_relaxed);
        if (chain >= wave->count) {
            return;
        }
        const int64_t first = wave->chains[chain], end = wave->chains[chain + 1];
        run_passes(words, plan->kernels, plan->starts, plan->places, plan->columns,
                   wave->table + first * (2 + plan->columns), end - first);
    }
}

static void run_cut(const fastnn_plan *plan, struct pool_team *team, const int64_t *table, int64_t passes)
{
    for (const int64_t *row = table; passes > 0; passes--, row += 2 + plan->columns) {
        set_columns(plan->words, plan->places, plan->columns, row);
        for (int64_t q = row[0]; q < row[1]; q++) {
            const int64_t *words = plan->words + plan->starts[q];
            const int64_t parts = parts_of(&plan->cuts[q], words, plan->threads);
            if (parts == 1) {
                kernel_at(plan->kernels[q])(words);
            } else {
                CutCall call = {.cut = &plan->cuts[q], .words = words, .kernel = plan->kernels[q], .parts = parts};
                pool_run(team, run_part, &call, parts);
            }
        }
    }
}

void fastnn_run_threads(const fastnn_plan *plan, const int64_t *table, const int64_t *waves, int64_t wave_count,
                        const int64_t *chains)
{
    const uint64_t mode = floating_mode();
    set_floating_mode(flushing(mode));
    struct pool_team team;
    pool_enter(&team, plan->threads); /* its members take the mode over */
    for (int64_t w = 0; w < wave_count; w++) {
        const int64_t first = waves[w], count = waves[w + 1] - first;
        if (count == 1) {
            const int64_t pass = chains[first];
            run_cut(plan, &team, table + pass * (2 + plan->columns), chains[first + 1] - pass);
        } else {
            Wave wave = {.plan = plan, .table = table, .chains = chains + first, .count = count};
            pool_run(&team, run_chains, &wave, plan->threads);
        }
    }
    pool_leave(&team);
    set_floating_mode(mode);
}
