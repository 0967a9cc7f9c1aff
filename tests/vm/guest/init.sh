#!/bin/sh
# Process 1 of the testing machine: first cgroups of version 2 that nobody manages, then systemd.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname bulkhead
sh /hap/guest/stage.sh cgroupfs
umount /run
cp /hap/guest/bulkhead-tests.service /etc/systemd/system/
exec /lib/systemd/systemd --unit=bulkhead-tests.service
