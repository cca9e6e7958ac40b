/* What the library says about itself: the level of the CPU, and where its kernels are. */
#define _GNU_SOURCE /* RTLD_NOLOAD */
#include <dlfcn.h>
#include <string.h>

#include "fastnn.h"

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

int64_t fastnn_has(const char *feature)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (strcmp(feature, "avx512bf16") == 0) {
        return __builtin_cpu_supports("avx512bf16") != 0;
    }
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
