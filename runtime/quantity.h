// Amounts on the command line: the value of `option`, which errors name.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "runtime/failure.h"

namespace runtime {

// "256M": bytes, or with K, M, G, T (powers of 1024; "Ki", "KiB", "KB" mean the same). At least one byte.
Outcome<uint64_t> parse_size(const char* option, const std::string& text);

// "90", "0.5": seconds, at least a millisecond and at most a year.
Outcome<std::chrono::milliseconds> parse_seconds(const char* option, const std::string& text);

// "4096": a count of at least one.
Outcome<uint32_t> parse_count(const char* option, const std::string& text);

// "1.5": processors' worth of time, at least a hundredth.
Outcome<double> parse_cpus(const char* option, const std::string& text);

}  // namespace runtime
