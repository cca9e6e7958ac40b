/* The thread pool: a task in parts, done by the calling thread and by workers that wait for it.
 *
 *     struct pool_team team;
 *     pool_enter(&team, threads);
 *     pool_run(&team, task, context, parts);     as often as needed
 *     pool_leave(&team);
 *
 * One pool serves the process, however many models and Python threads there are. Its workers are made when first asked
 * for, poll for some microseconds after their last task, then sleep, and are gone at exit and in a fork's child. */
#ifndef FASTNN_POOL_H
#define FASTNN_POOL_H

#include <stdint.h>

enum { POOL_WORKERS = 255 }; /* the most there ever are */

/* Does one part of a task. Parts run at the same time, in any order. */
typedef void (*pool_task)(void *context, int64_t part);

/* A caller and the workers it has for itself, from pool_enter to pool_leave. It lives on the caller's stack, is used by
 * the thread that entered, and its fields are the pool's own, except that `members` may be read. */
struct pool_team {
    int64_t members;               /* threads that do the parts: the caller and its workers */
    uint64_t process;              /* which process the workers live in, counted in forks */
    uint8_t workers[POOL_WORKERS]; /* which they are, members - 1 of them */
};

/* Seen by Python: declared in the same words in fastnn.h. */

/* Ends and joins all workers; the next pool_enter makes new ones. Waits for teams to leave, so a thread that is in a
 * team must not call it; meanwhile pool_enter gives no workers. Without workers it does nothing. */
void fastnn_pool_stop(void);

/* How many workers are alive. */
int64_t fastnn_pool_workers(void);

/* How many threads compute at the moment: callers between pool_enter and pool_leave, and the workers they have. */
int64_t fastnn_pool_busy(void);

#pragma GCC visibility push(hidden)

/* Announces the caller as computing and gives it up to threads - 1 workers for itself; team->members says how many
 * threads that makes. A caller that computes alone gets what it asks for, more than there are CPUs if it says so.
 * Beside other callers it gets no more than fills the CPUs that this process may use. A worker that the system will
 * not create is not there. With threads <= 1 it costs an atomic addition. The workers take over the caller's
 * floating-point mode (rounding, subnormal numbers), so that they compute the same bits as it would. */
void pool_enter(struct pool_team *team, int64_t threads);

/* task(context, p) for each p in 0..parts-1, part p always on member p % members, the caller being member 0. Returns
 * when all are done; what the caller wrote before is seen by the parts, what the parts wrote is seen by the caller
 * after. A task must not use the team. After a fork in the thread that is in the team, the child's caller does all
 * parts itself. */
void pool_run(struct pool_team *team, pool_task task, void *context, int64_t parts);

/* Gives the workers back. */
void pool_leave(struct pool_team *team);

#pragma GCC visibility pop

#endif
