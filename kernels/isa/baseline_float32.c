#include "float32.h"
#include "baseline.h"
#include "all.h"
