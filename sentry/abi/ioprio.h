// ioprio_set(2)'s constants. The kernel's own <linux/ioprio.h> is C only: its newer versions name a parameter
// `class`.
#pragma once

enum : int { IOPRIO_WHO_PROCESS = 1, IOPRIO_WHO_PGRP, IOPRIO_WHO_USER };
enum : int { IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE };
inline constexpr int IOPRIO_CLASS_SHIFT = 13;
constexpr int IOPRIO_PRIO_CLASS(int value) { return value >> IOPRIO_CLASS_SHIFT & 7; }
constexpr int IOPRIO_PRIO_VALUE(int type, int data) { return type << IOPRIO_CLASS_SHIFT | data; }
