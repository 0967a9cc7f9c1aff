# The guest of a qemu row: one workload on the serial line, plain or in runc.
word() { sed "s/.*hap\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }
stty -F /dev/ttyS0 raw -echo
exec < /dev/ttyS0 > /dev/ttyS0 2> /dev/null
python3 /hap/guest/inner.py "$(word inner)" "$(word workload)"
busybox poweroff -f
