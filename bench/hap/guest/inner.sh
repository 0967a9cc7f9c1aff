# The guest of a qemu row: one workload on the serial line, plain or in runc. Its disk is written to when the work asks
# for it: whether the guest's own timers would do it between the two lines is chance.
# What has been unpacked is written now; Python keeps no compiled files.
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
busybox sync
export PYTHONDONTWRITEBYTECODE=1
word() { sed "s/.*hap\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }
stty -F /dev/ttyS0 raw -echo
exec < /dev/ttyS0 > /dev/ttyS0 2> /dev/null
python3 /hap/guest/inner.py "$(word inner)" "$(word workload)"
busybox poweroff -f
