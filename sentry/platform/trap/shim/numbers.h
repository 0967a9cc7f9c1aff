// Numbers of area.h for the assembler; shim.cc holds the two together.
#define KAREA_SIZE 0x20000
#define KSTACK_TOP 0x3000
