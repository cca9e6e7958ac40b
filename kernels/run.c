/* The native loop: many passes over a plan in one call, no Python in between, the GIL released. The C twin of
 * fastnn/kernels/numba/loop.py.
 *
 * A pass runs the operations [first, last) of a plan. What differs from pass to pass (the rows of the batch, where the
 * loss goes, the step size) is a column of `table`: before a pass each of its numbers is copied into the words of the
 * operations. */
#include "fastnn.h"

typedef void (*Kernel)(const int64_t *words);

static Kernel kernel_at(int64_t address)
{
    return (Kernel)(uintptr_t)address;
}

/* words    (W,)  read and written: the arguments of all operations, one after the other
 * kernels  (Q,)  the address of each operation's kernel
 * starts   (Q,)  where its words begin
 * places   (columns,)             which word each column goes to
 * table    (passes, 2 + columns)  first, last, then the columns */
void fastnn_run(int64_t *words, const int64_t *kernels, const int64_t *starts, const int64_t *places, int64_t columns,
                const int64_t *table, int64_t passes)
{
    for (const int64_t *row = table; passes > 0; passes--, row += 2 + columns) {
        for (int64_t column = 0; column < columns; column++) {
            words[places[column]] = row[2 + column];
        }
        for (int64_t q = row[0]; q < row[1]; q++) {
            kernel_at(kernels[q])(words + starts[q]);
        }
    }
}

void fastnn_call(int64_t kernel, const int64_t *words)
{
    kernel_at(kernel)(words);
}
