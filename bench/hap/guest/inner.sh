# The guest of a qemu row: one workload on the serial line, plain or in runc. Its disk is written to when the work asks
# for it: whether the guest's own timers would do it between the two lines is chance.
# What has been unpacked is written now; Python keeps no compiled files.
echo 0 > /proc/sys/vm/dirty_writeback_centisecs
busybox sync
export PYTHONDONTWRITEBYTECODE=1
# And its memory has been touched once: whether a work is the first to come to a page, so that the host must find
# memory for it, is chance, too.
free=$(sed -n 's/^MemAvailable: *\([0-9]*\)[0-9]\{3\} kB$/\1/p' /proc/meminfo)
mkdir -p /run/touched
if mount -t tmpfs -o size=100% none /run/touched; then
  head -c "$((free - 64))M" /dev/zero > /run/touched/all
  umount /run/touched
fi
word() { sed "s/.*hap\.$1=\([^ ]*\).*/\1/" /proc/cmdline; }
stty -F /dev/ttyS0 raw -echo
exec < /dev/ttyS0 > /dev/ttyS0 2> /dev/null
python3 /hap/guest/inner.py "$(word inner)" "$(word workload)"
busybox poweroff -f
