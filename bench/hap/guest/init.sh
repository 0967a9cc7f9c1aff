#!/bin/sh
# Process 1 of the measuring machine, and of the guest of a qemu row.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /run/hap
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /var/hap && chmod 1777 /var/hap
ip link set lo up
hostname hap
grep -q hap.workload= /proc/cmdline && exec sh /hap/guest/inner.sh
mount -t tracefs tracefs /sys/kernel/tracing
modprobe -q kvm_amd nested=1 npt=1
mkdir -p /hap/out
python3 /hap/guest/agent.py /hap/job.json /hap/out /dev/vdc 2>&1 && echo 'hap> results written'
busybox reboot -f
