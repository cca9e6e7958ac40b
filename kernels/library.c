/* What the library says about itself: the level of the CPU, and where its kernels are. */
#define _GNU_SOURCE /* RTLD_NOLOAD, syscall */
#include <dlfcn.h>
#include <string.h>

#include "fastnn.h"

#ifdef FASTNN_KNOWS_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

const char *fastnn_best_isa(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd")) {
        return "avx512";
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
        return "avx2";
    }
#endif
    return "baseline";
}

#ifdef FASTNN_KNOWS_AMX
/* Whether there is a matrix unit that multiplies bfloat16, and Linux gives this process its registers: it keeps room for
 * their 8 KiB in each thread from then on. */
static int may_use_amx(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18, AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24 };
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_BF16) || !(d & AMX_TILE)) {
        return 0;
    }
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

int64_t fastnn_has(const char *feature)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (strcmp(feature, "avx512bf16") == 0) {
        return __builtin_cpu_supports("avx512bf16") != 0;
    }
#ifdef FASTNN_KNOWS_AMX
    if (strcmp(feature, "amx-bf16") == 0) {
        return may_use_amx();
    }
#endif
#else
    (void)feature;
#endif
    return 0;
}

int64_t fastnn_address(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD); /* loaded already: this only finds it */
    if (!handle) {
        return 0;
    }
    void *found = dlsym(handle, name);
    dlclose(handle);
    return (int64_t)(uintptr_t)found;
}
