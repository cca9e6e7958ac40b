#ifdef __x86_64__
#include "float32.h"
#include "avx512bf16.h"
#include "../low_precision.c"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int no_such_level_here; /* a unit must not be empty */
#endif
