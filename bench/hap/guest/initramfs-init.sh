#!/bin/busybox sh
# First program of the measuring machine: load the disk's drivers, unpack the input, go on in the real root.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in $(/bin/busybox cat /modules/order); do
  /bin/busybox insmod "/modules/$module" || exec /bin/busybox sh -c 'echo "hap> FAILED: insmod"; /bin/busybox reboot -f'
done
# A guest of the machine needs the workloads only, and nothing that writes to its disk now and then (see inner.sh).
files= options=rw
/bin/busybox grep -q hap.workload= /proc/cmdline && options=rw,noatime,commit=3600,noinit_itable &&
  files='guest workloads workloads.py bin/hap_spin bin/hap_sweep'
/bin/busybox mount -t ext4 -o "$options" /dev/vda /root && /bin/busybox mkdir -p /root/hap &&
  /bin/busybox tar xf /dev/vdb -C /root/hap $files || { echo 'hap> FAILED: no root'; /bin/busybox reboot -f; }
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /hap/guest/init.sh
