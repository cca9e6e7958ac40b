#include "../fastnn.h"
#ifdef FASTNN_KNOWS_AMX
#include "float32.h"
#include "amx.h"
#include "../low_precision.c"
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int no_such_level_here; /* a unit must not be empty */
#endif
