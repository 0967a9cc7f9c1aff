#include "tests/unit/gofer/gofer_process.h"
