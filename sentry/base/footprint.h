// What a program keeps in memory while it waits.
#pragma once

namespace sentry {

// Unmaps the pages of this program that the page cache has anyway (code and constants): what is used again
// comes back by a minor fault. After start-up most of them never are. Costs one madvise(2) a segment.
void drop_clean_pages();

}  // namespace sentry
