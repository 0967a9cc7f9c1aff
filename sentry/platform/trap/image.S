// The shim's image as data.
  .section .rodata
  .balign 64
  .globl bulkhead_shim_image
  .globl bulkhead_shim_image_end
bulkhead_shim_image:
  .incbin "shim.bin"
bulkhead_shim_image_end:
  .section .note.GNU-stack, "", @progbits
